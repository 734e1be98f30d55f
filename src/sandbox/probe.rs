//! The configuration of a probe in front of a sandbox: where everything is. The caller adds the keys of
//! `[probe]`. It is text because the sandbox must not import the code that reads it.

use std::fmt::Write as _;

use super::{ARCHIVE_BUCKET, REGION, Sandbox, Stage, TABLE, TRANSFER_BUCKET, TRANSIT_BUCKET};

/// The identity with which a probe reaches the tenants' accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The role that each tenant gives it.
    TenantRoles,
    /// Its own, so that all log groups belong to one account.
    OwnAccount,
}

impl Sandbox {
    /// Returns TOML with the given keys of `[probe]`, and the stages to watch in order, each with extra keys.
    /// The caller may append more tables.
    pub fn probe_configuration(&self, access: Access, probe: &str, stages: &[(Stage, &str)]) -> String {
        let ends = self.endpoints();
        let mut text = format!(
            r#"[probe]
{probe}

[aws]
region = "{REGION}"
auth = "none"
endpoints = {{ logs = "{logs}", kinesis = "{kinesis}", s3 = "{s3}", sts = "{sts}" }}

[gcp]
endpoints = {{ bigquery = "{bigquery}", gcs = "{gcs}" }}
auth = "none"
"#,
            probe = probe.trim_end(),
            logs = ends.logs,
            kinesis = ends.kinesis,
            s3 = ends.s3,
            sts = ends.sts,
            bigquery = ends.bigquery,
            gcs = ends.gcs,
        );
        // Writing to a String cannot fail.
        for (stage, keys) in stages {
            let _ = writeln!(text, "\n[[stage]]\nname = \"{stage}\"\n{}", source(*stage));
            if !keys.is_empty() {
                let _ = writeln!(text, "{keys}");
            }
        }
        for tenant in self.tenants() {
            let mut account = format!("log_group = \"{}\"\n", tenant.log_group);
            if access == Access::TenantRoles {
                let (role, id) = (&tenant.role_arn, &tenant.external_id);
                let _ = write!(account, "role_arn = \"{role}\"\nexternal_id = \"{id}\"\n");
            }
            let _ = write!(text, "\n[[tenant]]\nname = \"{}\"\n{account}", tenant.name);
            if stages.iter().any(|(stage, _)| *stage == Stage::LogGroup) {
                let _ = write!(text, "[tenant.stage.{}]\n{account}", Stage::LogGroup);
            }
        }
        text
    }
}

/// The keys that define the source of a stage.
fn source(stage: Stage) -> String {
    let (project, dataset, table) = TABLE;
    match stage {
        Stage::LogGroup => r#"kind = "cloudwatch_logs"
log_group = "/set/for/each/tenant""#
            .to_owned(),
        Stage::TenantStream => r#"kind = "kinesis"
stream = "logs-{tenant}""#
            .to_owned(),
        Stage::Archive => format!(
            r#"after = "tenant_stream"
kind = "s3"
bucket = "{ARCHIVE_BUCKET}"
key = "archive/tenant={{tenant}}/dt=%Y-%m-%d/hour=%H/""#
        ),
        Stage::DeadLetter => format!(
            r#"after = "tenant_stream"
role = "dead_letter"
kind = "s3"
bucket = "{ARCHIVE_BUCKET}"
key = "dlq/tenant={{tenant}}/dt=%Y-%m-%d/hour=%H/""#
        ),
        Stage::Transit => format!(
            r#"after = "tenant_stream"
kind = "s3"
bucket = "{TRANSIT_BUCKET}"
key = "transit/%Y/%m/%d/%H/""#
        ),
        Stage::Transfer => format!(
            r#"after = "transit"
kind = "gcs"
bucket = "{TRANSFER_BUCKET}"
key = "transfer/%Y/%m/%d/%H/""#
        ),
        Stage::Bigquery => format!(
            r#"after = "transit"
kind = "bigquery"
table = "{project}.{dataset}.{table}"
id_column = "trace_id"
time_column = "ingest_time"
tenant_column = "tenant"
end = true"#
        ),
    }
}
