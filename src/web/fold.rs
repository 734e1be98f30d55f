//! Which tenants a page shows one by one: with many of them, those that are OK are one line.

use super::view::{Recent, Tenant};

/// With more tenants than this that are OK, they are one line.
const OK_SHOWN: usize = 10;
/// Tenants with a problem that are shown; the others have it in common with these or are less bad.
const PROBLEMS_SHOWN: usize = 15;

/// Positions of tenants in [`Recent::tenants`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fold {
    /// Those that are shown, in order.
    pub(crate) shown: Vec<usize>,
    /// Those that are OK and folded.
    pub(crate) folded: Vec<usize>,
    /// Number of those with a problem, or that wait for their first canary, that are folded.
    pub(crate) more: usize,
    /// Whether a link unfolds or folds them: there are so many.
    pub(crate) is_long: bool,
}

impl Fold {
    pub(crate) fn of(view: &Recent<'_>) -> Self {
        let is_ok = |tenant: &Tenant| tenant.verdict.key == "ok";
        let positions = |ok: bool| {
            let all = view.tenants.iter().enumerate();
            all.filter(move |(_, tenant)| is_ok(tenant) == ok).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let (mut shown, folded) = (positions(false), positions(true));
        let is_long = folded.len() > OK_SHOWN || shown.len() > PROBLEMS_SHOWN;
        if view.filter.show_all || folded.len() <= OK_SHOWN {
            shown.extend(folded);
            let more = if view.filter.show_all { 0 } else { truncate(&mut shown, PROBLEMS_SHOWN + OK_SHOWN) };
            return Self { shown, folded: Vec::new(), more, is_long };
        }
        let more = truncate(&mut shown, PROBLEMS_SHOWN);
        Self { shown, folded, more, is_long }
    }
}

/// Shortens a list, and returns by how many.
fn truncate(list: &mut Vec<usize>, most: usize) -> usize {
    let more = list.len().saturating_sub(most);
    list.truncate(most);
    more
}
