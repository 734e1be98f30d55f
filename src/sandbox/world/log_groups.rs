//! The tenants' log groups: what PutLogEvents stored, and what FilterLogEvents finds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::clock::Micros;

/// One stored log event.
#[derive(Debug, Clone)]
pub(crate) struct LogEvent {
    pub id: String,
    pub stream: Arc<str>,
    /// The caller's stamp, in ms since the epoch.
    pub timestamp: i64,
    pub ingested: Micros,
    pub message: Arc<str>,
}

/// One tenant's log group.
#[derive(Debug)]
pub(crate) struct LogGroup {
    pub name: String,
    pub account: String,
    pub created: Micros,
    pub streams: BTreeMap<String, Micros>,
    pub events: VecDeque<LogEvent>,
    next_id: u64,
}

/// What a FilterLogEvents call requests.
#[derive(Debug, Default)]
pub(crate) struct LogFilter {
    /// Inclusive, in ms.
    pub start: Option<i64>,
    /// Exclusive, in ms.
    pub end: Option<i64>,
    /// The substring to find, extracted from the pattern.
    pub text: Option<String>,
    pub streams: Vec<String>,
    pub stream_prefix: Option<String>,
    /// Continue after this (timestamp, event id).
    pub after: Option<(i64, String)>,
    pub limit: usize,
    /// Events ingested after this are not shown yet.
    pub shown_until: Option<Micros>,
}

/// An answer of FilterLogEvents is at most 1 MB (AWS Logs API reference).
const PAGE_BYTES: usize = 1_048_576;

impl LogGroup {
    pub(crate) fn new(name: &str, account: &str, created: Micros) -> Self {
        Self {
            name: name.to_owned(),
            account: account.to_owned(),
            created,
            streams: BTreeMap::new(),
            events: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Stores an event and returns its id; ids increase.
    pub(crate) fn store(
        &mut self,
        stream: &Arc<str>,
        timestamp: i64,
        message: &Arc<str>,
        at: Micros,
        capacity: usize,
    ) -> String {
        self.next_id += 1;
        // A real event id is a number of 56 digits that begins with the time.
        let id = format!(
            "{:0>20}{:0>36}",
            3_900_000_000_000_000_000_u64 + at.millis().unsigned_abs(),
            self.next_id
        );
        self.events.push_back(LogEvent {
            id: id.clone(),
            stream: Arc::clone(stream),
            timestamp,
            ingested: at,
            message: Arc::clone(message),
        });
        while self.events.len() > capacity {
            self.events.pop_front();
        }
        id
    }

    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        while self.events.front().is_some_and(|event| event.ingested < horizon) {
            self.events.pop_front();
        }
    }

    /// One page in the order of (timestamp, id), and whether there are more.
    pub(crate) fn filter(&self, filter: &LogFilter) -> (Vec<LogEvent>, bool) {
        let mut found: Vec<&LogEvent> = self
            .events
            .iter()
            .filter(|event| {
                filter.shown_until.is_none_or(|until| event.ingested <= until)
                    && filter.start.is_none_or(|start| event.timestamp >= start)
                    && filter.end.is_none_or(|end| event.timestamp < end)
                    && (filter.streams.is_empty()
                        || filter.streams.iter().any(|name| **name == *event.stream))
                    && filter
                        .stream_prefix
                        .as_ref()
                        .is_none_or(|prefix| event.stream.starts_with(prefix.as_str()))
                    && filter
                        .after
                        .as_ref()
                        .is_none_or(|(stamp, id)| (event.timestamp, &event.id) > (*stamp, id))
                    && filter.text.as_ref().is_none_or(|text| event.message.contains(text.as_str()))
            })
            .collect();
        found.sort_by(|a, b| (a.timestamp, &a.id).cmp(&(b.timestamp, &b.id)));
        let mut bytes = 0;
        let mut page = Vec::new();
        for event in &found {
            bytes += event.message.len() + 100;
            if page.len() >= filter.limit || (bytes > PAGE_BYTES && !page.is_empty()) {
                return (page, true);
            }
            page.push((*event).clone());
        }
        (page, false)
    }
}

/// The substring that a filter pattern matches. The sandbox supports a bare term, a quoted term, and a
/// regular expression between percent signs without operators.
///
/// # Errors
/// Names the part of the pattern that the sandbox does not support.
pub(crate) fn pattern_text(pattern: &str) -> Result<Option<String>, String> {
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return Ok(None);
    }
    let inner = |mark: char| {
        pattern.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)).filter(|text| !text.is_empty())
    };
    if let Some(literal) = inner('%').or_else(|| inner('"')) {
        return match literal.chars().find(|letter| "[](){}*+?|^$.\\%\"".contains(*letter)) {
            None => Ok(Some(literal.to_owned())),
            Some(letter) => {
                Err(format!("Invalid filter pattern: '{letter}' is not supported by the sandbox"))
            }
        };
    }
    match pattern.chars().find(|letter| !letter.is_alphanumeric() && *letter != '_') {
        None => Ok(Some(pattern.to_owned())),
        Some(letter) => Err(format!("Invalid character(s) in term '{letter}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_terms_quoted_terms_or_literals() {
        assert_eq!(pattern_text("zqtp"), Ok(Some("zqtp".to_owned())));
        assert_eq!(pattern_text("%zqtp%"), Ok(Some("zqtp".to_owned())));
        assert_eq!(pattern_text("\"a b\""), Ok(Some("a b".to_owned())));
        assert_eq!(pattern_text(" "), Ok(None));
        assert!(pattern_text("a-b").is_err());
        assert!(pattern_text("%a.*%").is_err());
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let mut group = LogGroup::new("g", "1", Micros(0));
        let stream: Arc<str> = "s".into();
        for n in 0..7 {
            group.store(&stream, 100 - n % 3, &format!("m{n}").into(), Micros(n), 100);
        }
        let mut filter = LogFilter { limit: 2, ..LogFilter::default() };
        let mut seen = Vec::new();
        loop {
            let (page, more) = group.filter(&filter);
            seen.extend(page.iter().map(|event| event.message.to_string()));
            filter.after = page.last().map(|event| (event.timestamp, event.id.clone()));
            if !more {
                break;
            }
        }
        assert_eq!(seen, ["m2", "m5", "m1", "m4", "m0", "m3", "m6"]);
    }
}
