//! The two forms of the chain: with all times divided by ten, or with those of the demo and the shipped rules.

use std::time::Duration;

use traceprobe::commands::demo;
use traceprobe::commands::demo::Scenario;
use traceprobe::sandbox::{
    Access, Distribution, Fault, Pace, Profile, Sandbox, Settings, Stage, StageEffect,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Tenth,
    Real,
}

impl Form {
    /// `TRACEPROBE_CHAIN=real` selects the real times.
    pub fn chosen() -> Self {
        if std::env::var("TRACEPROBE_CHAIN").is_ok_and(|form| form == "real") {
            Self::Real
        } else {
            Self::Tenth
        }
    }

    /// A time of the real form.
    pub fn time(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self == Self::Tenth { seconds / 10.0 } else { seconds })
    }

    /// Scrapes and evaluations are this far apart.
    pub fn scrape(self) -> Duration {
        self.time(15.0)
    }

    /// How often page, JSON and metrics are compared.
    pub fn sample(self) -> Duration {
        self.time(10.0).max(Duration::from_secs(2))
    }

    /// How long to wait for what must come. Far more than it takes, because the machine may be busy.
    pub fn patience(self) -> Duration {
        match self {
            Self::Tenth => Duration::from_secs(240),
            Self::Real => Duration::from_secs(40 * 60),
        }
    }

    pub async fn sandbox(self, tenants: usize, profile: Profile) -> Sandbox {
        let settings = match self {
            Self::Tenth => {
                let pace = Pace {
                    export: Distribution::Uniform { min_ms: 100.0, max_ms: 300.0 },
                    transfer: Distribution::Uniform { min_ms: 50.0, max_ms: 200.0 },
                    ..Pace::brisk()
                };
                Settings { profile, pace, shards_per_stream: 1, ..Settings::brisk(SEED, tenants) }
            }
            // The lines of fifty clients would take gigabytes.
            Self::Real if tenants > 10 => {
                Settings { profile, noise_per_second: 0.0, ..Settings::demo(SEED, tenants) }
            }
            Self::Real => Settings { profile, ..Settings::demo(SEED, tenants) },
        };
        Sandbox::start(settings).await.expect("cannot start the sandbox")
    }

    /// What a scenario switches on.
    pub fn fault(self, scenario: Scenario, sandbox: &Sandbox) -> Option<Fault> {
        let mut fault = scenario.fault(sandbox)?;
        if let Fault::Stage { effect: StageEffect::Delay { delay: Distribution::Fixed { ms } }, .. } =
            &mut fault
        {
            *ms = self.time(*ms / 1e3).as_secs_f64() * 1e3;
        }
        Some(fault)
    }

    /// The configuration of a probe in front of the sandbox. `interval` and `window` are those of the form with a
    /// tenth of the times; the demo has its own.
    pub fn configuration(self, sandbox: &Sandbox, interval: &str, window: &str) -> String {
        if self == Self::Real {
            let any_port = "127.0.0.1:0".parse().expect("it is an address");
            return demo::configuration(sandbox, any_port);
        }
        // give_up and grace are a tenth of the demo's; the rest is a tenth of the defaults, except for what would
        // only measure how busy the machine is.
        let probe = format!(
            r#"listen = "127.0.0.1:0"
interval = "{interval}"
slo = "3s"
critical = "6s"
buckets = ["100ms", "500ms", "1s", "2s", "3s", "4s", "5s", "6s", "7.5s", "10s", "20s", "30s", "90s"]
give_up = "12s"
grace = "6s"
blind_after = "6s"
copy_recheck = "10s"
stop_grace = "1s""#
        );
        // Side stages of fifty tenants are a hundred sources, which keep a core busy.
        let is_large = sandbox.tenants().len() > 10;
        let stage = "interval = \"1s\"\nmissing_after = \"3s\"\ntarget = \"3s\"";
        let stages =
            [Stage::TenantStream, Stage::Archive, Stage::DeadLetter, Stage::Transit, Stage::Bigquery];
        let is_side = |name: Stage| [Stage::Archive, Stage::DeadLetter].contains(&name);
        let watched: Vec<(Stage, &str)> = stages
            .into_iter()
            .filter(|name| !(is_large && is_side(*name)))
            .map(|name| (name, if name == Stage::DeadLetter { "interval = \"1s\"" } else { stage }))
            .collect();
        let conditions =
            format!("[conditions]\nwindow = \"{window}\"\nlate_after = \"3s\"\nover_after = \"30s\"\n");
        let text = sandbox.probe_configuration(Access::TenantRoles, &probe, &watched);
        format!("{text}{conditions}")
    }

    /// The configuration of a task that is deployed: with the real times, every key has its default.
    pub fn deployed(self, sandbox: &Sandbox) -> String {
        if self == Self::Tenth {
            return self.configuration(sandbox, "3s", "90s");
        }
        let target = |name| (name, "target = \"10s\"");
        let stages = [
            target(Stage::TenantStream),
            target(Stage::Archive),
            target(Stage::Transit),
            target(Stage::Bigquery),
        ];
        sandbox.probe_configuration(Access::TenantRoles, "listen = \"127.0.0.1:0\"", &stages)
    }

    /// How long after the start of its successor a task gets SIGTERM. ECS looks at the health of the new one every
    /// 30 s and acts some time later. With `probe.stop_grace`, it is nearly as long as `store.lock_timeout` allows.
    pub fn side_by_side(self) -> Duration {
        match self {
            // Prometheus takes up to 5 s to see another target.
            Self::Tenth => Duration::from_secs(20),
            Self::Real => Duration::from_secs(150),
        }
    }

    /// Keys of it that are a tenth of their defaults, but for `stop_grace`, in which a scrape and its jitter must
    /// have their place.
    pub fn deployment_keys(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Tenth => {
                &[("PROBE_STOP_GRACE", "3s"), ("PROBE_HANDOVER", "60s"), ("STORE_LOCK_TIMEOUT", "30s")]
            }
            Self::Real => &[],
        }
    }
}

/// The n-th canary of a tenant has the same fate in each run with it.
const SEED: u64 = 7;
