//! Which tenants a page shows one by one: with many of them, those that are OK are one line, and so are those
//! with the same problem.

use super::view::{Recent, Tenant};

/// With more tenants than this that are OK, they are one line.
const OK_SHOWN: usize = 10;
/// With more tenants than this that have the same problem, they are one line.
const ALIKE_SHOWN: usize = 4;
/// Lines for tenants with a problem. The others are less bad.
const PROBLEMS_SHOWN: usize = 15;

/// Positions of tenants in [`Recent::tenants`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fold {
    /// The lines in order, each with the tenants that it stands for.
    pub(crate) lines: Vec<Vec<usize>>,
    /// Number of tenants in lines that are left out. None of them is OK.
    pub(crate) more: usize,
    /// Whether there are so many that a link unfolds or folds them.
    pub(crate) is_long: bool,
}

impl Fold {
    pub(crate) fn of(view: &Recent<'_>) -> Self {
        let tenants: Vec<&Tenant> = view.tenants.iter().collect();
        // One that holds copies of another must not disappear among those that are OK.
        let is_ok = |at: &usize| tenants[*at].verdict.key == "ok" && tenants[*at].verdict.holds.is_none();
        let (ok, others): (Vec<_>, Vec<_>) = (0..tenants.len()).partition(is_ok);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for at in others {
            let what = &tenants[at].verdict.what;
            match groups.iter_mut().find(|group| group.iter().any(|it| tenants[*it].verdict.what == *what)) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        let is_long = ok.len() > OK_SHOWN || groups.iter().any(|group| group.len() > ALIKE_SHOWN);
        let one_by_one = |group: Vec<usize>, most: usize| -> Vec<Vec<usize>> {
            if group.len() > most && !view.filter.show_all {
                vec![group]
            } else {
                group.into_iter().map(|at| vec![at]).collect()
            }
        };
        let mut lines: Vec<_> = groups.into_iter().flat_map(|group| one_by_one(group, ALIKE_SHOWN)).collect();
        let most = if view.filter.show_all { lines.len() } else { PROBLEMS_SHOWN.min(lines.len()) };
        let more = lines.split_off(most).iter().map(Vec::len).sum();
        if !ok.is_empty() {
            lines.extend(one_by_one(ok, OK_SHOWN));
        }
        Self { lines, more, is_long: is_long || more > 0 }
    }

    /// The tenants that have a line of their own.
    pub(crate) fn singles(&self) -> impl Iterator<Item = usize> + '_ {
        self.lines.iter().filter_map(|line| match line[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// Number of tenants that have none.
    pub(crate) fn folded(&self) -> usize {
        self.lines.iter().filter(|line| line.len() > 1).map(Vec::len).sum::<usize>() + self.more
    }
}
