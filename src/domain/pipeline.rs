//! Names of the parts of the pipeline that the probe does not poll.

use super::kind::Writer;
use super::topology::{Role, StageId, Topology};

/// How the parts are called; `None` and empty lists for what is not known. In names of functions and of delivery
/// streams, `{tenant}` stands for the name of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// The Lambda function behind the subscription filter.
    pub forwarder: Option<String>,
    /// The Lambda function that reads the tenants' streams.
    pub aggregation: Option<String>,
    /// The Lambda function that writes to the transit stage.
    pub export: Option<String>,
    /// The Kinesis stream that the aggregation writes to.
    pub central_stream: Option<String>,
    /// The Firehose stream, where one takes the place of a Lambda function.
    pub firehose: Option<String>,
    /// The SQS queue for what could not be processed.
    pub dead_letter_queue: Option<String>,
    /// The request metrics configuration of the archive's bucket.
    pub archive_metrics: Option<String>,
    /// Site-to-Site VPN connections of the transit VPC.
    pub vpn_connections: Vec<String>,
    /// NAT gateways of the transit VPC.
    pub nat_gateways: Vec<String>,
    /// ARNs of CloudWatch alarms to show.
    pub alarms: Vec<String>,
    /// The ARN of the role with which an exporter reads CloudWatch in a client's account, with `{account}`.
    pub metrics_role: Option<String>,
    /// The Google Cloud project that has the tables, tunnels and transfers.
    pub google_project: Option<String>,
    /// Cloud VPN tunnels.
    pub google_vpn_tunnels: Vec<String>,
    /// VLAN attachments of Cloud Interconnect.
    pub interconnect_attachments: Vec<String>,
    /// Jobs of Storage Transfer Service: `transferJobs/123`.
    pub transfer_jobs: Vec<String>,
    /// How many BigQuery slots the project may use.
    pub slots: Option<u32>,
}

impl Pipeline {
    /// The function that a person looks at when canaries do not come out of the hop into a stage; `None` if it is not
    /// known, or if there is none.
    #[must_use]
    pub fn function_into(&self, map: &Topology, id: StageId, tenant: Option<&str>) -> Option<String> {
        let stage = map.stage(id);
        let name = match (stage.role, stage.kind.writer()) {
            _ if stage.parent.is_none() => self.forwarder.as_ref(),
            (Role::DeadLetter, _) | (_, Writer::Aggregation) => self.aggregation.as_ref(),
            (_, Writer::AggregationOrExport) if map.main_path().contains(&id) => self.export.as_ref(),
            (_, Writer::AggregationOrExport) => self.aggregation.as_ref(),
            (_, Writer::Transfer) => self.transfer_jobs.first(),
            (_, Writer::Unnamed) => None,
        }?;
        match tenant {
            Some(tenant) => Some(of_tenant(name, tenant)),
            None => (!name.contains(TENANT)).then(|| name.clone()),
        }
    }
}

const TENANT: &str = "{tenant}";

/// A name with that of a tenant in its place.
#[must_use]
pub fn of_tenant(name: &str, tenant: &str) -> String {
    name.replace(TENANT, tenant)
}
