//! The table `[drill]`.

use std::time::Duration;

use toml::{Table, Value};

use super::keys;
use super::sections::section;
use super::settings::Drill;
use crate::domain::drill::DrillTime;
use crate::keys::fault::Checked;
use crate::keys::reader::Context;
use crate::keys::value::{self, Parsed};

/// Longer than the alert on a stuck tenant takes with every interval up to five minutes.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads when canaries of a tenant that does not exist are withheld; `None` if drills are not enabled.
pub(super) fn drill(context: &mut Context, root: &Table) -> Checked<Option<Drill>> {
    let mut read = section(context, root, "drill", 10, &keys::DRILL, &[]);
    let enabled = read.get("enabled", value::boolean);
    let schedule = read.find("schedule", value::list(time));
    let shortest = Duration::from_secs(10);
    let length = read.get("length", value::duration_within(shortest, LONGEST, ""));
    let drill = Drill { schedule: schedule?.unwrap_or_default(), length: length? };
    Ok(enabled?.then_some(drill))
}

fn time(value: &Value) -> Parsed<DrillTime> {
    let text = value::text(value)?;
    text.parse().map_err(|()| {
        format!("\"{text}\" is not a valid time of a drill; write a weekday or \"daily\" and a time in UTC, such as \"mon 10:00\"")
    })
}
