//! What became of a canary.

use super::evidence::StageSource;
use super::finding::Finding;
use super::story::Story;
use super::trace::TraceView;
use super::violation::Violation;
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;

/// What became of a canary.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// The whole story in one sentence.
    pub(crate) sentence: String,
    /// Whether it met the end-to-end threshold, as text.
    pub(crate) slo: String,
    /// The same for programs; `None` if it is not decided or unknown.
    pub(crate) met_slo: Option<bool>,
    /// What is wrong with it, worst first.
    pub(crate) findings: Vec<Finding>,
}

impl Fate {
    pub(crate) fn new(
        view: &TraceView<'_>,
        sources: &[StageSource],
        violations: &[Violation],
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Self {
        let story = Story { view, sources, snapshot, settings };
        let mut findings: Vec<_> = story.leaked(violations).into_iter().chain(story.outcome()).collect();
        for lane in &view.lanes {
            findings.extend(story.corrupted(lane));
            findings.extend(story.duplicated(lane));
            findings.extend(story.absent(lane));
        }
        let clauses = findings.iter().map(|finding| finding.clause.as_str()).filter(|text| !text.is_empty());
        let sentence =
            std::iter::once(story.sentence().as_str()).chain(clauses).collect::<Vec<_>>().join("; ");
        let (slo, met_slo) = story.slo();
        Self { sentence, slo, met_slo, findings }
    }
}
