//! The configuration of a daemon in front of a sandbox: where everything is. A test adds what it wants of the daemon.

use std::fmt::Write as _;

use traceprobe::sandbox::{self, Sandbox, Stage};

/// Keys of `[probe]`, and the stages to watch in their order, each with keys of its own. More tables may follow the text.
pub fn configuration(sandbox: &Sandbox, probe: &str, stages: &[(Stage, &str)]) -> String {
    let ends = sandbox.endpoints();
    let mut text = format!(
        r#"[probe]
listen = "127.0.0.1:0"
{probe}

[aws]
region = "{region}"
auth = "none"
endpoints = {{ logs = "{logs}", kinesis = "{kinesis}", s3 = "{s3}", sts = "{sts}" }}

[gcp]
endpoint = "{bigquery}"
auth = "none"
"#,
        region = sandbox::REGION,
        logs = ends.logs,
        kinesis = ends.kinesis,
        s3 = ends.s3,
        sts = ends.sts,
        bigquery = ends.bigquery,
    );
    for (stage, keys) in stages {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[stage]]\nname = \"{stage}\"\n{}\n{keys}\n", source(*stage));
    }
    for tenant in sandbox.tenants() {
        let account = format!(
            "log_group = \"{}\"\nrole_arn = \"{}\"\nexternal_id = \"{}\"\n",
            tenant.log_group, tenant.role_arn, tenant.external_id
        );
        let _ = write!(text, "\n[[tenant]]\nname = \"{}\"\n{account}", tenant.name);
        if stages.iter().any(|(stage, _)| *stage == Stage::LogGroup) {
            let _ = write!(text, "[tenant.stage.{}]\n{account}", Stage::LogGroup);
        }
    }
    text
}

/// What a stage of the sandbox is, and where.
fn source(stage: Stage) -> String {
    let (archive, transit) = (sandbox::ARCHIVE_BUCKET, sandbox::TRANSIT_BUCKET);
    let transfer = sandbox::TRANSFER_BUCKET;
    let (project, dataset, table) = sandbox::TABLE;
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
bucket = "{archive}"
key = "archive/tenant={{tenant}}/dt=%Y-%m-%d/hour=%H/""#
        ),
        Stage::DeadLetter => format!(
            r#"after = "tenant_stream"
role = "dead_letter"
kind = "s3"
bucket = "{archive}"
key = "dlq/tenant={{tenant}}/dt=%Y-%m-%d/hour=%H/""#
        ),
        Stage::Transit => format!(
            r#"after = "tenant_stream"
kind = "s3"
bucket = "{transit}"
key = "transit/%Y/%m/%d/%H/""#
        ),
        Stage::Transfer => format!(
            r#"after = "transit"
kind = "gcs"
bucket = "{transfer}"
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
