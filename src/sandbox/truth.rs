//! What really happened to every canary: the answer sheet against which a probe's measurements are marked.
//!
//! The sandbox knows nothing of how a tag is made. A canary is any message with a token of the right shape, and the token is
//! its identity. Instants are the machine's wall clock without the offset of any service, taken under the lock under which
//! the copy becomes visible, so no client can see a copy before its recorded arrival.

use std::collections::{HashMap, VecDeque};

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::names::Stage;

/// Start of a token of any version.
const MARKER: &str = "zqtp";
/// The digit that follows the marker, and the length of a whole token of that version in bytes.
const VERSIONS: [(u8, usize); 2] = [(b'1', 61), (b'2', 66)];
/// Canaries remembered; the oldest is forgotten first.
const CAPACITY: usize = 200_000;

/// One stored copy of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub stage: Stage,
    /// When the copy became visible.
    pub at: Micros,
    /// The tenant in whose source, or under whose label, the copy is stored.
    pub tenant: String,
    /// Shard and sequence number, object key and line, row, or event id.
    pub locator: String,
}

/// What went wrong with a canary, beside or before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Incident {
    /// A copy was dropped on the way to this stage.
    Dropped { hop: Stage },
    /// Another copy was stored here.
    Duplicated { stage: Stage },
    /// A copy was stored here as if it were `into`'s.
    Leaked { stage: Stage, into: String },
    /// The text was cut or mangled on its way into this stage.
    Corrupted { stage: Stage },
    /// A copy was put aside on the way to this stage.
    DeadLettered { hop: Stage },
    /// The hop took much longer than usual by the profile, not by a fault.
    Slowed { hop: Stage },
}

/// How a canary ended, as far as the table is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// Still on its way.
    InFlight,
    /// A copy is in the table under its own tenant.
    Delivered,
    /// It was dropped on this hop and no copy is left on the way to the table.
    Lost { hop: Stage },
    /// It was put aside on this hop and no copy is left on the way to the table.
    DeadLettered { hop: Stage },
}

/// The life of one canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// The whole token, in lower case.
    pub token: String,
    pub tenant: String,
    /// When PutLogEvents took it for the first time.
    pub accepted: Micros,
    /// How often PutLogEvents took it.
    pub puts: u32,
    #[serde(flatten)]
    pub fate: Fate,
    pub arrivals: Vec<Arrival>,
    pub incidents: Vec<Incident>,
    /// Copies that are still on their way to the table.
    #[serde(skip)]
    pub(crate) under_way: u32,
}

impl TruthRecord {
    /// When its first copy became visible at `stage` in its own tenant's source.
    pub fn arrived(&self, stage: Stage) -> Option<Micros> {
        self.copies(stage).map(|arrival| arrival.at).min()
    }

    /// How many copies are still on their way to the table.
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// All copies at `stage` in its own tenant's source.
    pub fn copies(&self, stage: Stage) -> impl Iterator<Item = &Arrival> {
        self.arrivals.iter().filter(move |arrival| arrival.stage == stage && arrival.tenant == self.tenant)
    }
}

/// The truth about the newest canaries.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    records: HashMap<String, TruthRecord>,
    order: VecDeque<String>,
}

impl Truth {
    pub(crate) fn accepted(&mut self, token: &str, tenant: &str, at: Micros) {
        if let Some(record) = self.records.get_mut(token) {
            record.puts += 1;
            record.under_way += 1;
            return;
        }
        if self.order.len() >= CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
        self.order.push_back(token.to_owned());
        self.records.insert(
            token.to_owned(),
            TruthRecord {
                token: token.to_owned(),
                tenant: tenant.to_owned(),
                accepted: at,
                puts: 1,
                fate: Fate::InFlight,
                arrivals: Vec::new(),
                incidents: Vec::new(),
                under_way: 1,
            },
        );
    }

    pub(crate) fn arrived(&mut self, token: &str, arrival: Arrival) {
        if let Some(record) = self.records.get_mut(token) {
            if arrival.stage == Stage::Bigquery && arrival.tenant == record.tenant {
                record.fate = Fate::Delivered;
            }
            record.arrivals.push(arrival);
        }
    }

    pub(crate) fn incident(&mut self, token: &str, incident: Incident) {
        if let Some(record) = self.records.get_mut(token) {
            record.incidents.push(incident);
        }
    }

    /// A further copy has set out for the table.
    pub(crate) fn set_out(&mut self, token: &str) {
        if let Some(record) = self.records.get_mut(token) {
            record.under_way += 1;
        }
    }

    /// A copy that was on its way to the table has come to its end: the table (`None`), or the fate given.
    pub(crate) fn ended(&mut self, token: &str, fate: Option<Fate>) {
        if let Some(record) = self.records.get_mut(token) {
            record.under_way = record.under_way.saturating_sub(1);
            if let Some(fate) = fate
                && record.under_way == 0
                && record.fate != Fate::Delivered
            {
                record.fate = fate;
            }
        }
    }

    /// All that is remembered, oldest first.
    pub(crate) fn all(&self) -> Vec<TruthRecord> {
        self.order.iter().filter_map(|token| self.records.get(token).cloned()).collect()
    }
}

/// The token in a message, if there is one, in lower case.
pub(crate) fn find_token(message: &str) -> Option<String> {
    let lower = message.to_ascii_lowercase();
    memmem::find_iter(lower.as_bytes(), MARKER).find_map(|start| {
        let digit = lower.as_bytes().get(start + MARKER.len())?;
        let (_, length) = VERSIONS.iter().find(|(version, _)| version == digit)?;
        let token = lower.get(start..start + length)?;
        token.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| token.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> [String; 2] {
        VERSIONS.map(|(version, length)| {
            let text = format!("{MARKER}{}{}", char::from(version), "0123456789abcdef".repeat(4));
            text.chars().take(length).collect()
        })
    }

    #[test]
    fn a_token_of_each_version_is_found_whatever_surrounds_it() {
        for token in tokens() {
            let message = format!("{{\"trace_id\":\"{}\",\"message\":\"zqtp2\"}}", token.to_uppercase());
            assert_eq!(find_token(&message), Some(token));
        }
    }

    #[test]
    fn half_a_token_is_no_canary_and_neither_is_one_of_a_version_that_is_not_known() {
        for token in tokens() {
            assert_eq!(find_token(&token[..token.len() - 1]), None);
            assert_eq!(find_token(&token.replacen(['1', '2'], "3", 1)), None);
        }
        assert_eq!(find_token("zqtp2 is a marker"), None);
    }

    #[test]
    fn a_canary_is_lost_only_when_its_last_copy_is() {
        let mut truth = Truth::default();
        truth.accepted("t", "acme", Micros(1));
        truth.set_out("t");
        truth.ended("t", Some(Fate::Lost { hop: Stage::Transit }));
        assert_eq!(truth.all()[0].fate, Fate::InFlight);
        truth.ended("t", Some(Fate::Lost { hop: Stage::Bigquery }));
        assert_eq!(truth.all()[0].fate, Fate::Lost { hop: Stage::Bigquery });
    }
}
