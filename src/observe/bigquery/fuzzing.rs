//! What the fuzz targets reach of the reader of answers.

use std::collections::HashMap;

use super::columns::{Columns, TimeColumn};
use super::query::QueryAnswer;
use super::rows::Reader;
use super::settings::{Id, IdIs, IdMatch, TimeIs};
use crate::domain::sighting::{ReadStats, Sighting};
use crate::domain::tag::{Tag, TenantCode, TraceId};
use crate::domain::time::Timestamp;
use crate::observe::Recognizer;
use crate::observe::decode::Halt;

/// How a table names its canaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    Tag,
    TraceId,
    /// A tag somewhere in a text.
    Within,
    /// A tag; whose canaries may be in the table is known.
    Owned,
}

/// Reads an answer of jobs.query whose columns are id, time, tenant and body. `None` if it is not one.
#[must_use]
pub fn read(
    recognizer: &Recognizer,
    wanted: &[Tag],
    names: Names,
    answer: &[u8],
) -> Option<(Vec<Sighting>, ReadStats)> {
    let mut answer: QueryAnswer = serde_json::from_slice(answer).ok()?;
    let wanted: HashMap<TraceId, Tag> = wanted.iter().map(|tag| (tag.trace, *tag)).collect();
    let owners: Vec<TenantCode> = recognizer.templates.iter().map(|(code, _)| *code).collect();
    let columns = Columns {
        id: Id::Column("id".to_owned()),
        id_match: if names == Names::Within { IdMatch::Contains } else { IdMatch::Exact },
        time: Some(TimeColumn {
            name: "time".to_owned(),
            kind: "TIMESTAMP".to_owned(),
            is: TimeIs::Inserted,
        }),
        tenant: Some("tenant".to_owned()),
        body: Some("body".to_owned()),
    };
    // Its result is a text for people.
    let _ = columns.check_result("p.d.t", &answer.schema);
    let reader = Reader {
        table: "p.d.t",
        id_is: if names == Names::TraceId { IdIs::TraceId } else { IdIs::Tag },
        columns: &columns,
        recognizer,
        wanted: &wanted,
        owners: (names == Names::Owned).then_some(&owners),
        padded_labels: None,
        halt: &Halt::default(),
    };
    let billed_bytes = answer.bytes_billed().unwrap_or_default();
    let mut stats = ReadStats { billed_bytes, ..ReadStats::default() };
    let rows: Vec<_> = answer.take_rows().collect();
    let sightings = reader.read(&rows, Timestamp::from_secs(1_795_321_790), &mut stats);
    Some((sightings, stats))
}
