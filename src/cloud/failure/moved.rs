//! A bucket that is in another region than the one in which it was called. S3 answers with the right one.

use crate::cloud::account::is_region;

/// What is around the region of the bucket in [`hint`].
const BEFORE: &str = "the bucket is in ";
const AFTER: &str = ", not in ";

/// Says where the bucket is and what to set, to stand in front of the error of S3.
#[must_use]
pub fn hint(theirs: &str, ours: &str) -> String {
    format!("the bucket is in {theirs}, not in {ours}; set region of the stage to \"{theirs}\"")
}

/// The region of the bucket, if the text of a failure has such a hint.
#[must_use]
pub fn region_of_bucket(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(BEFORE)?;
    rest.split_once(AFTER).map(|(region, _)| region).filter(|region| is_region(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_a_hint_is_read_again_and_no_other_text_has_one() {
        let text =
            format!("ListObjectsV2 on s3://b/p/: {}: PermanentRedirect: m", hint("us-west-2", "eu-west-1"));
        assert_eq!(region_of_bucket(&text), Some("us-west-2"));
        assert_eq!(region_of_bucket("the bucket is in a box, not in a bag"), None);
        assert_eq!(region_of_bucket("AccessDenied: Access Denied"), None);
    }
}
