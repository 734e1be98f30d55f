use super::*;
use crate::cloud::calls::Calls;
use crate::daemon::clock;

const FILE: &str = r#"
[aws]
region = "eu-central-1"
auth = "none"
[gcp]
auth = "none"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
[[stage]]
name = "table"
kind = "bigquery"
after = "stream"
table = "p.d.{tenant}"
id_column = "trace_id"
end = true
"#;

/// A configuration with these tenants, each with the template of its canaries.
fn config(tenants: &[(&str, &str)]) -> Config {
    let table = |(name, template): &(&str, &str)| {
        format!("[[tenant]]\nname = \"{name}\"\nlog_group = \"/{name}\"\ntemplate = \"{template}\"\n")
    };
    let text = format!("{FILE}{}", tenants.iter().map(table).collect::<String>());
    let key = ("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned());
    Config::parse(&text, [key]).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What would run for a configuration.
struct InForce {
    roster: Roster,
    config: Config,
    common: Common,
}

impl InForce {
    async fn new(tenants: &[(&str, &str)]) -> Self {
        let config = config(tenants);
        let clients = build::clients(&config.aws, &config.google, Calls::default()).await.unwrap();
        let topology = Arc::new(config.topology());
        let recognizer = build::recognizer(&config.keyring, &topology);
        let (clock, end) = (clock::system(), CancellationToken::new());
        let common = Common { topology: topology.clone(), clients, recognizer, clock, end };
        let mut roster = Roster::new(mpsc::channel(1).0, mpsc::channel(1).0);
        let (ids, sources): (Vec<_>, Vec<_>) =
            (topology.tenant_ids().collect(), topology.source_ids().collect());
        let next = roster.plan(&common, &config, None, &ids, &sources).unwrap();
        assert_eq!(next.polled.len(), sources.len());
        roster.advance(next.current);
        Self { roster, config, common }
    }

    /// Puts a configuration with these tenants in force. Returns the sources whose observers begin.
    fn becomes(&mut self, tenants: &[(&str, &str)]) -> Vec<String> {
        let config = config(tenants);
        let engine = self.common.topology.clone();
        let same = self.roster.same(&config, &engine);
        let successor = engine.succeeded_by(&config.topology(), &same).unwrap();
        let mut common = self.common.clone();
        common.topology = Arc::new(successor.topology);
        common.recognizer = build::recognizer(&config.keyring, &common.topology);
        let before = Some((&self.config, &*engine));
        let next =
            self.roster.plan(&common, &config, before, &successor.tenants, &successor.sources).unwrap();
        let begin = next.polled.iter().map(|(id, _)| common.topology.source(*id).name.to_string()).collect();
        self.roster.advance(next.current);
        (self.config, self.common) = (config, common);
        begin
    }

    /// As the engine does once nothing of a tenant that leaves is awaited.
    fn let_go(&mut self) {
        let leaving: Vec<_> = self.common.topology.leaving().collect();
        for tenant in leaving {
            self.common.topology = Arc::new(self.common.topology.without(tenant));
        }
    }
}

const ACME: (&str, &str) = ("acme", "a {tag}");
const GLOBEX: (&str, &str) = ("globex", "a {tag}");
const INITECH: (&str, &str) = ("initech", "a {tag}");

#[tokio::test]
async fn a_tenant_that_is_added_is_known_at_the_tables_of_others_and_no_cursor_is_lost() {
    let mut in_force = InForce::new(&[ACME, GLOBEX]).await;
    assert_eq!(in_force.becomes(&[ACME, GLOBEX]), [""; 0]);
    let begin = in_force.becomes(&[ACME, GLOBEX, INITECH]);
    let tables = ["bigquery p.d.acme", "bigquery p.d.globex", "bigquery p.d.initech"];
    assert_eq!(begin, [&["kinesis logs-initech"][..], &tables].concat());
    assert_eq!(in_force.becomes(&[ACME, GLOBEX, INITECH]), [""; 0]);
}

#[tokio::test]
async fn a_tenant_that_comes_back_with_another_template_is_compared_with_that_one() {
    let mut in_force = InForce::new(&[ACME, GLOBEX, INITECH]).await;
    in_force.becomes(&[ACME, INITECH]);
    in_force.let_go();
    let begin = in_force.becomes(&[ACME, ("globex", "b {tag}"), INITECH]);
    for source in ["kinesis logs-acme", "kinesis logs-globex", "bigquery p.d.globex", "kinesis logs-initech"]
    {
        assert!(begin.iter().any(|it| it == source), "{source}: {begin:?}");
    }
    assert_eq!(in_force.becomes(&[ACME, ("globex", "b {tag}"), INITECH]), [""; 0]);
}

#[tokio::test]
async fn a_tenant_that_comes_back_as_it_was_changes_nothing_for_others() {
    let mut in_force = InForce::new(&[ACME, GLOBEX, INITECH]).await;
    assert_eq!(in_force.becomes(&[ACME, INITECH]), [""; 0]);
    in_force.let_go();
    assert_eq!(in_force.becomes(&[ACME, GLOBEX, INITECH]), ["kinesis logs-globex", "bigquery p.d.globex"]);
}
