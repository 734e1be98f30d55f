//! Incidents over hours of a simulated pipeline: what they say against what was done to it.

mod course;
mod night;
mod three_hours;
