//! Where the clouds' own tools find services that are not at their usual address, and how commands tell them.
//!
//! Commands are written for the usual addresses, by every kind of stage and by the runbook. Whoever prints one adds the
//! addresses, so that no kind has to know them.

use super::shell::quoted;

/// Ends the address of BigQuery where clients of its API want it. The tool adds it by itself.
const BIGQUERY_PATH: &str = "/bigquery/v2";

/// The addresses that are configured, without what may be secret in them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ToolEndpoints {
    aws: Vec<AwsEndpoint>,
    /// The region of commands that name none.
    region: Option<String>,
    bigquery: Option<String>,
}

/// The address of a service in AWS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AwsEndpoint {
    /// As in metrics; `None` for all.
    pub service: Option<String>,
    /// `None` for every region.
    pub region: Option<String>,
    pub url: String,
}

impl ToolEndpoints {
    /// Of `aws`, the first that fits a command counts. `region` is that of commands that name none. `bigquery` has its
    /// path, as clients of the API want it.
    #[must_use]
    pub fn new(aws: Vec<AwsEndpoint>, region: Option<String>, bigquery: Option<&str>) -> Self {
        let root = |url: &str| {
            let url = url.trim_end_matches('/');
            url.strip_suffix(BIGQUERY_PATH).unwrap_or(url).to_owned()
        };
        Self { aws, region, bigquery: bigquery.map(root) }
    }

    /// A command, or several, with the addresses that the tools in it need: `aws --endpoint-url URL …`, `bq --api URL …`.
    #[must_use]
    pub fn told(&self, command: &str) -> String {
        if self.aws.is_empty() && self.bigquery.is_none() {
            return command.to_owned();
        }
        let mut told = String::with_capacity(command.len() + 64);
        let mut written = 0;
        for at in tools(command) {
            let (name, rest) = command[at..].split_once(' ').unwrap_or((&command[at..], ""));
            let option = match name {
                "aws" => self.of_aws(rest).map(|url| format!(" --endpoint-url {}", quoted(url))),
                "bq" => self.bigquery.as_ref().map(|url| format!(" --api {}", quoted(url))),
                _ => None,
            };
            if let Some(option) = option {
                let end = at + name.len();
                told.push_str(&command[written..end]);
                told.push_str(&option);
                written = end;
            }
        }
        told.push_str(&command[written..]);
        told
    }

    /// For a command without its first word.
    fn of_aws(&self, command: &str) -> Option<&str> {
        let service = match command.split(' ').next().unwrap_or_default() {
            "s3api" => "s3",
            "cloudwatch" => "monitoring",
            other => other,
        };
        let named = command.split_once("--region ").map(|(_, rest)| word(rest));
        let region = named.or(self.region.as_deref());
        let fits = |endpoint: &&AwsEndpoint| {
            endpoint.service.as_deref().is_none_or(|of| of == service)
                && endpoint.region.as_deref().is_none_or(|of| Some(of) == region)
        };
        self.aws.iter().find(fits).map(|endpoint| endpoint.url.as_str())
    }
}

/// The word with which a text begins.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default()
}

/// Where the names of the tools begin, as a shell reads the text. Names within quotes are no commands.
fn tools(command: &str) -> Vec<usize> {
    let (mut found, mut open, mut is_start, mut at) = (Vec::new(), Vec::new(), true, 0);
    while let Some(c) = command[at..].chars().next() {
        let rest = &command[at..];
        let is_double = open.last() == Some(&Open::DoubleQuotes);
        let (length, starts) = match c {
            '\\' => (1 + rest.chars().nth(1).map_or(0, char::len_utf8), is_start),
            '"' if is_double => {
                open.pop();
                (1, false)
            }
            '"' => {
                open.push(Open::DoubleQuotes);
                (1, false)
            }
            '$' if rest.starts_with("$(") => {
                open.push(Open::Substitution);
                (2, true)
            }
            c if is_double => (c.len_utf8(), false),
            ')' if open.last() == Some(&Open::Substitution) => {
                open.pop();
                (1, false)
            }
            // What quotes a name writes a quote in it as `'\''`, or as an escape.
            '\'' => (rest[1..].find('\'').map_or(rest.len(), |end| end + 2), false),
            '#' if is_start || command[..at].ends_with(' ') => (rest.find('\n').unwrap_or(rest.len()), true),
            '|' | ';' | '&' | '\n' => (1, true),
            c if c.is_whitespace() => (c.len_utf8(), is_start),
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || ";|&)\"'$\\".contains(c)).unwrap_or(rest.len());
                let name = &rest[..end.max(1)];
                if is_start && matches!(name, "aws" | "bq") {
                    found.push(at);
                }
                (end.max(1), is_start && matches!(name, "do" | "then" | "else"))
            }
        };
        is_start = starts;
        at += length;
    }
    found
}

/// What a shell has not closed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    DoubleQuotes,
    Substitution,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(service: Option<&str>, region: Option<&str>, url: &str) -> AwsEndpoint {
        let text = |text: &str| text.to_owned();
        AwsEndpoint { service: service.map(text), region: region.map(text), url: text(url) }
    }

    fn of_all() -> ToolEndpoints {
        ToolEndpoints::new(vec![at(None, None, "http://e")], None, Some("http://b/bigquery/v2/"))
    }

    #[test]
    fn every_call_of_a_tool_is_told_the_address() {
        for (command, told) in [
            ("aws sts get-caller-identity", "aws --endpoint-url http://e sts get-caller-identity"),
            ("bq show P:D.T", "bq --api http://b show P:D.T"),
            ("gcloud storage ls gs://b", "gcloud storage ls gs://b"),
            (
                "for s in $(aws kinesis a --q x); do aws kinesis b --i \"$(aws kinesis c 'it'\\''s')\" | tr x y; done",
                "for s in $(aws --endpoint-url http://e kinesis a --q x); do aws --endpoint-url http://e kinesis b --i \
                 \"$(aws --endpoint-url http://e kinesis c 'it'\\''s')\" | tr x y; done",
            ),
            (
                "# aws first\naws s3 ls \\\n  x | while read -r k; do aws s3 cp \"$k\" -; done",
                "# aws first\naws --endpoint-url http://e s3 ls \\\n  x | while read -r k; do aws --endpoint-url http://e s3 \
                 cp \"$k\" -; done",
            ),
        ] {
            assert_eq!(of_all().told(command), told);
            assert_eq!(ToolEndpoints::default().told(command), command);
        }
    }

    #[test]
    fn a_name_that_reads_like_a_command_stays_as_it_is() {
        for command in [
            "ls 'a; aws s3 ls' x",
            "ls \"a; aws s3 ls\" aws",
            "ls $'a\\047; aws s3 ls' bq",
            "ls a    # | aws s3 ls",
            "ls a\\; aws x",
            "SELECT * FROM `a` WHERE x = 'aws s3'",
        ] {
            assert_eq!(of_all().told(command), command);
        }
    }

    #[test]
    fn an_unclosed_quote_is_read_to_the_end() {
        for command in ["ls '", "ls \"", "ls $(", "ls \\", "ü '"] {
            assert_eq!(of_all().told(command), command);
        }
    }

    #[test]
    fn the_address_of_a_service_counts_before_that_of_all_and_that_of_its_region_before_both() {
        let endpoints = ToolEndpoints::new(
            vec![
                at(Some("kinesis"), Some("us-west-2"), "http://west"),
                at(Some("sts"), Some("eu-central-1"), "http://home"),
                at(Some("s3"), None, "http://…@s3"),
                at(None, None, "http://all"),
            ],
            Some("eu-central-1".to_owned()),
            None,
        );
        for (command, url) in [
            ("aws kinesis list-streams --region us-west-2", "http://west"),
            ("aws kinesis list-streams --region eu-central-1", "http://all"),
            ("aws sts get-caller-identity", "http://home"),
            ("aws s3api head-object --region us-west-2", "'http://…@s3'"),
            ("aws iam list-role-policies --role-name r", "http://all"),
        ] {
            let told = endpoints.told(command);
            assert!(told.starts_with(&format!("aws --endpoint-url {url} ")), "{told}");
        }
        assert_eq!(endpoints.told("bq ls"), "bq ls");
    }
}
