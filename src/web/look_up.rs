//! Commands that fetch a stored copy, or look for one, without the probe: for whoever does not believe it.
//!
//! Every value is quoted for the shell or for SQL, since names and locators come from outside.

use crate::domain::sighting::Locator;
use crate::domain::time::Timestamp;

/// Where a source lies, as the tools of its cloud name it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Place {
    /// A Kinesis stream.
    Kinesis {
        /// The stream's name.
        stream: String,
        /// Its region.
        region: Option<String>,
    },
    /// A bucket and the prefix of the keys, with time fields (`%Y/%m/%d/%H`).
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What the keys begin with.
        prefix: String,
        /// Its region.
        region: Option<String>,
    },
    /// A log group.
    CloudWatchLogs {
        /// Its name.
        log_group: String,
        /// Its region.
        region: Option<String>,
    },
    /// A table.
    BigQuery {
        /// `project.dataset.table`.
        table: String,
        /// The column that holds the tag.
        id_column: String,
        /// The column that partitions the table.
        time_column: Option<String>,
    },
    /// Anything else: no look-ups are offered.
    #[default]
    Elsewhere,
}

/// A command and what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookUp {
    /// What it does.
    pub what: &'static str,
    /// To be pasted into a shell or a query editor.
    pub command: String,
}

/// Commands for a canary at a place: to fetch the copy if there is one, otherwise to look for it.
///
/// Locators are read leniently; one that is not understood only means that no command is offered.
#[must_use]
pub fn look_ups(place: &Place, copy: Option<&Locator>, tag: &str, planned: Timestamp) -> Vec<LookUp> {
    let from = planned.strftime("%Y-%m-%dT%H:%M:%SZ");
    match (place, copy) {
        (Place::Kinesis { stream, region }, Some(copy)) => {
            let Some((shard, sequence)) = shard_and_sequence(&copy.0) else {
                return Vec::new();
            };
            let region = in_region(region.as_deref());
            vec![LookUp {
                what: "read the record",
                command: format!(
                    "aws kinesis get-records{region} --limit 1 --shard-iterator \"$(aws kinesis get-shard-iterator{region} \
                     --stream-name {} --shard-id {} --shard-iterator-type AT_SEQUENCE_NUMBER --starting-sequence-number {} \
                     --query ShardIterator --output text)\"",
                    quoted(stream),
                    quoted(shard),
                    quoted(sequence),
                ),
            }]
        }
        (Place::Kinesis { stream, region }, None) => vec![LookUp {
            what: "list the shards",
            command: format!(
                "aws kinesis list-shards{} --stream-name {}",
                in_region(region.as_deref()),
                quoted(stream),
            ),
        }],
        (Place::S3 { bucket, region, .. }, Some(copy)) => vec![LookUp {
            what: "fetch the object",
            command: format!(
                "aws s3 cp{} {} -",
                in_region(region.as_deref()),
                quoted(&format!("s3://{bucket}/{}", key(&copy.0, bucket))),
            ),
        }],
        (Place::S3 { bucket, prefix, region }, None) => vec![LookUp {
            what: "list the objects of that hour",
            command: format!(
                "aws s3 ls{} {}",
                in_region(region.as_deref()),
                quoted(&format!("s3://{bucket}/{}", planned.strftime(prefix))),
            ),
        }],
        (Place::CloudWatchLogs { log_group, region }, _) => vec![LookUp {
            what: "search the log group",
            command: format!(
                "aws logs filter-log-events{} --log-group-name {} --start-time {} --filter-pattern {}",
                in_region(region.as_deref()),
                quoted(log_group),
                planned.millis(),
                quoted(&format!("\"{tag}\"")),
            ),
        }],
        (Place::BigQuery { table, id_column, time_column }, _) => {
            let column = identifier(id_column);
            let recent = time_column.as_ref().map_or_else(String::new, |time| {
                let time = identifier(time);
                format!(" AND {time} >= TIMESTAMP '{from}'")
            });
            vec![LookUp {
                what: "look for the row",
                command: format!(
                    "SELECT * FROM {} WHERE LOWER({column}) = {}{recent} LIMIT 10",
                    identifier(table),
                    literal(tag),
                ),
            }]
        }
        (Place::Elsewhere, _) => Vec::new(),
    }
}

/// A shard id and a sequence number, in whatever way they are put together.
fn shard_and_sequence(locator: &str) -> Option<(&str, &str)> {
    let shard = locator.find("shardId-")?;
    let rest = &locator[shard..];
    let end = rest["shardId-".len()..].find(|c: char| !c.is_ascii_digit())? + "shardId-".len();
    let after = &rest[end..];
    let start = after.find(|c: char| c.is_ascii_digit())?;
    let number = &after[start..];
    let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some((&rest[..end], &number[..length]))
}

/// The key in an S3 locator: without the scheme and the bucket, and without the place inside the object.
fn key<'a>(locator: &'a str, bucket: &str) -> &'a str {
    let key = locator
        .strip_prefix("s3://")
        .and_then(|rest| rest.strip_prefix(bucket))
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(locator);
    key.split_once('#').map_or(key, |(key, _)| key)
}

fn in_region(region: Option<&str>) -> String {
    region.map_or_else(String::new, |region| format!(" --region {}", quoted(region)))
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// For GoogleSQL.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(place: &Place, copy: Option<&str>) -> String {
        let copy = copy.map(Locator::new);
        let planned = Timestamp::from_millis(1_795_321_781_123);
        look_ups(place, copy.as_ref(), "zqtp1abc", planned)
            .into_iter()
            .map(|look_up| look_up.command)
            .collect()
    }

    #[test]
    fn a_kinesis_record_is_read_by_its_sequence_number() {
        let place =
            Place::Kinesis { stream: "logs-acme".to_owned(), region: Some("eu-central-1".to_owned()) };
        let command = said(&place, Some("shardId-000000000000:4959033827149/3"));
        assert!(command.contains("--shard-id shardId-000000000000 "), "{command}");
        assert!(command.contains("--starting-sequence-number 4959033827149 "), "{command}");
        assert_eq!(said(&place, Some("who knows")), "");
    }

    #[test]
    fn an_object_is_fetched_by_its_key_alone() {
        let place = Place::S3 { bucket: "b".to_owned(), prefix: "a/%Y/%m/%d/%H/".to_owned(), region: None };
        assert_eq!(said(&place, Some("s3://b/a/x.gz#17")), "aws s3 cp s3://b/a/x.gz -");
        assert_eq!(said(&place, Some("a/it's; rm -rf.gz#0")), r"aws s3 cp 's3://b/a/it'\''s; rm -rf.gz' -");
        assert_eq!(said(&place, None), "aws s3 ls s3://b/a/2026/11/22/04/");
    }

    #[test]
    fn a_row_is_looked_for_by_its_tag_within_its_partition() {
        let place = Place::BigQuery {
            table: "p.logs.events".to_owned(),
            id_column: "trace_id".to_owned(),
            time_column: Some("ingest_time".to_owned()),
        };
        assert_eq!(
            said(&place, None),
            "SELECT * FROM `p.logs.events` WHERE LOWER(`trace_id`) = 'zqtp1abc' AND `ingest_time` >= TIMESTAMP '2026-11-22T04:29:41Z' LIMIT 10"
        );
    }
}
