//! Addresses of pages in the consoles of AWS and Google Cloud.
//!
//! Neither provider documents them as an interface, so they may change; nothing depends on them but links for
//! people. The host of an AWS console follows from the region (AWS Management Console user guide, "Sign in to a
//! Region" and the guides for China, GovCloud and the European Sovereign Cloud; that of the secret partitions is in the
//! domain in which they sign in, by the endpoints of AWS Sign-In in the SDKs).

use std::fmt::Write as _;

use crate::cloud::aws::dns_suffix;
use crate::domain::evidence::Question;

/// The host of the AWS console for a region.
fn aws(region: &str) -> String {
    let domain = match dns_suffix(region) {
        _ if region.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
        "amazonaws.com.cn" => "console.amazonaws.cn",
        "amazonaws.eu" => "console.amazonaws-eusc.eu",
        "c2s.ic.gov" => "console.c2shome.ic.gov",
        "sc2s.sgov.gov" => "console.sc2shome.sgov.gov",
        "csp.hci.ic.gov" => "console.csphome.hci.ic.gov",
        "cloud.adc-e.uk" => "console.csphome.adc-e.uk",
        _ => "console.aws.amazon.com",
    };
    format!("https://{}.{domain}", encoded(region))
}

/// Log events of a group that match the tag, from the planned injection on.
///
/// The CloudWatch console has a router of its own behind the `#`: names are encoded twice there, with `$` instead
/// of `%`, as its own "copy link" shows.
pub(super) fn log_events(region: &str, log_group: &str, question: Question<'_>) -> String {
    let twice = |text: &str| encoded(&encoded(text)).replace('%', "$");
    format!(
        "{}/cloudwatch/home?region={}#logsV2:log-groups/log-group/{}/log-events$3FfilterPattern$3D{}$26start$3D{}",
        aws(region),
        encoded(region),
        twice(log_group),
        twice(&format!("\"{}\"", question.tag)),
        question.planned_at.millis(),
    )
}

/// The data viewer of a stream.
pub(super) fn stream(region: &str, name: &str) -> String {
    let host = aws(region);
    format!("{host}/kinesis/home?region={}#/streams/details/{}/dataViewer", encoded(region), encoded(name))
}

/// A queue, from which the console can receive messages.
pub(super) fn queue(region: &str, url: &str) -> String {
    format!("{}/sqs/v3/home?region={}#/queues/{}", aws(region), encoded(region), encoded(url))
}

/// An object and its properties.
pub(super) fn s3_object(region: &str, bucket: &str, key: &str) -> String {
    format!(
        "{}/s3/object/{}?region={}&prefix={}",
        aws(region),
        encoded(bucket),
        encoded(region),
        encoded(key)
    )
}

/// The objects below a prefix.
pub(super) fn s3_prefix(region: &str, bucket: &str, prefix: &str) -> String {
    format!(
        "{}/s3/buckets/{}?region={}&prefix={}",
        aws(region),
        encoded(bucket),
        encoded(region),
        encoded(prefix)
    )
}

/// An object and its properties.
pub(super) fn gcs_object(bucket: &str, name: &str) -> String {
    format!("https://console.cloud.google.com/storage/browser/_details/{}/{}", encoded(bucket), path(name))
}

/// The objects in a folder.
pub(super) fn gcs_folder(bucket: &str, prefix: &str) -> String {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("https://console.cloud.google.com/storage/browser/{}/{}", encoded(bucket), path(folder))
}

/// A table.
pub(super) fn table(project: &str, dataset: &str, table: &str) -> String {
    let project = encoded(project);
    format!(
        "https://console.cloud.google.com/bigquery?project={project}&p={project}&d={}&t={}&page=table",
        encoded(dataset),
        encoded(table)
    )
}

/// Encoded, except for the slashes.
fn path(name: &str) -> String {
    name.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// Percent-encoded except for the characters that RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn each_partition_has_a_host_of_its_own() {
        assert_eq!(
            stream("eu-central-1", "logs-acme"),
            "https://eu-central-1.console.aws.amazon.com/kinesis/home?region=eu-central-1#/streams/details/logs-acme/dataViewer"
        );
        for (region, domain) in [
            ("cn-north-1", "amazonaws.cn"),
            ("us-gov-west-1", "amazonaws-us-gov.com"),
            ("eusc-de-east-1", "amazonaws-eusc.eu"),
            ("us-iso-east-1", "c2shome.ic.gov"),
            ("us-isob-east-1", "sc2shome.sgov.gov"),
            ("us-isof-south-1", "csphome.hci.ic.gov"),
            ("eu-isoe-west-1", "csphome.adc-e.uk"),
        ] {
            let url = stream(region, "s");
            assert!(url.starts_with(&format!("https://{region}.console.{domain}/")), "{url}");
        }
    }

    #[test]
    fn a_log_group_is_encoded_as_the_console_does() {
        let question = Question { copy: None, tag: "zqtp1abc", planned_at: Timestamp::from_secs(7) };
        assert_eq!(
            log_events("eu-central-1", "/ecs/acme", question),
            "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/$252Fecs$252Facme/log-events$3FfilterPattern$3D$2522zqtp1abc$2522$26start$3D7000"
        );
    }

    #[test]
    fn a_hostile_key_stays_one_parameter() {
        let url = s3_object("eu-central-1", "b", "a&region=x#\"><script>\n$(id)");
        assert!(url.ends_with("&prefix=a%26region%3Dx%23%22%3E%3Cscript%3E%0A%24%28id%29"), "{url}");
        assert!(gcs_object("b", "x/../y?z").ends_with("/b/x/../y%3Fz"));
    }

    #[test]
    fn a_prefix_without_a_whole_folder_opens_the_folder_above() {
        assert_eq!(gcs_folder("b", "a/b/part-"), "https://console.cloud.google.com/storage/browser/b/a/b");
    }
}
