//! What really happened to every canary, to compare a probe's measurements with.
//!
//! The sandbox does not know how a tag is made. A canary is any message with a token of the right shape,
//! which is its identity. Instants are the machine's wall clock without any service's offset. They are taken
//! under the lock that makes the copy visible, so no client can see a copy before its recorded arrival.

use std::collections::{HashMap, VecDeque};

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::names::Stage;

/// Start of a token of any version.
const MARKER: &str = "zqtp";
/// The digit after the marker, and the length of a whole token of that version in bytes.
const VERSIONS: [(u8, usize); 2] = [(b'1', 61), (b'2', 66)];
/// Number of remembered canaries; the oldest is forgotten first.
const CAPACITY: usize = 200_000;

/// One stored copy of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub stage: Stage,
    /// When the copy became visible.
    pub at: Micros,
    /// The tenant whose source or label the copy has.
    pub tenant: String,
    /// Shard and sequence number, object key and line, row, or event id.
    pub locator: String,
}

/// Something that went wrong with a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Incident {
    /// A copy was dropped on the hop to this stage.
    Dropped { hop: Stage },
    /// A second copy was stored at this stage.
    Duplicated { stage: Stage },
    /// A copy was stored at this stage as `into`'s.
    Leaked { stage: Stage, into: String },
    /// The text was cut or mangled on the hop to this stage.
    Corrupted { stage: Stage },
    /// A copy was dead-lettered on the hop to this stage.
    DeadLettered { hop: Stage },
    /// The hop took much longer than usual because of the profile, not of a fault.
    Slowed { hop: Stage },
}

/// How a canary ended with respect to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// Not yet decided.
    InFlight,
    /// A copy is in the table under its own tenant.
    Delivered,
    /// It was dropped on this hop, and no copy is left that could reach the table.
    Lost { hop: Stage },
    /// It was dead-lettered on this hop, and no copy is left that could reach the table.
    DeadLettered { hop: Stage },
}

/// The history of one canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// The whole token, in lower case.
    pub token: String,
    pub tenant: String,
    /// When PutLogEvents accepted it for the first time.
    pub accepted: Micros,
    /// How often PutLogEvents accepted it.
    pub puts: u32,
    #[serde(flatten)]
    pub fate: Fate,
    pub arrivals: Vec<Arrival>,
    pub incidents: Vec<Incident>,
    /// Number of copies that can still reach the table.
    #[serde(skip)]
    pub(crate) under_way: u32,
}

impl TruthRecord {
    /// When its first copy became visible at `stage` in its own tenant's source.
    pub fn arrived(&self, stage: Stage) -> Option<Micros> {
        self.copies(stage).map(|arrival| arrival.at).min()
    }

    /// Number of copies that can still reach the table.
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

    /// Counts another copy that can reach the table.
    pub(crate) fn add_copy(&mut self, token: &str) {
        if let Some(record) = self.records.get_mut(token) {
            record.under_way += 1;
        }
    }

    /// Records the end of a copy that could reach the table: it did (`None`), or it met this fate.
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

    /// All remembered canaries, oldest first.
    pub(crate) fn all(&self) -> Vec<TruthRecord> {
        self.order.iter().filter_map(|token| self.records.get(token).cloned()).collect()
    }
}

/// The token in a message, in lower case.
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
    fn part_of_a_token_or_one_of_an_unknown_version_is_not_a_canary() {
        for token in tokens() {
            assert_eq!(find_token(&token[..token.len() - 1]), None);
            assert_eq!(find_token(&token.replacen(['1', '2'], "3", 1)), None);
        }
        assert_eq!(find_token("zqtp2 is a marker"), None);
    }

    #[test]
    fn a_canary_is_lost_only_with_its_last_copy() {
        let mut truth = Truth::default();
        truth.accepted("t", "acme", Micros(1));
        truth.add_copy("t");
        truth.ended("t", Some(Fate::Lost { hop: Stage::Transit }));
        assert_eq!(truth.all()[0].fate, Fate::InFlight);
        truth.ended("t", Some(Fate::Lost { hop: Stage::Bigquery }));
        assert_eq!(truth.all()[0].fate, Fate::Lost { hop: Stage::Bigquery });
    }
}
