//! Where the next listing of a prefix may begin, if its keys turn out to grow with time.

use crate::domain::time::{Interval, Timestamp};

/// How many keys there must be before a start and after it. If keys were in no order, all new ones would sort
/// after all old ones by a chance of 1 in 137 billion (20 of 40).
const WITNESSES: usize = 20;

/// A known object, as far as the order of its keys is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness<'a> {
    pub(super) key: &'a str,
    /// When it was written, if its stamp says so.
    pub(super) written: Option<Interval>,
    /// Whether it need not be read any more.
    pub(super) is_done: bool,
}

/// The key after which the next listing may begin; `None` if the keys do not show that they grow.
///
/// They do if they fall into two parts: first those that were written before `settled` and are done, then
/// those that were written since. One old object among the new ones, or a new one among the old, and there is
/// no start. Two writers whose keys grow side by side are such a case.
pub(super) fn start_of(mut objects: Vec<Witness<'_>>, settled: Timestamp) -> Option<&str> {
    objects.sort_unstable_by_key(|object| object.key);
    let is_settled = |object: &Witness<'_>| {
        object.is_done && object.written.is_some_and(|written| written.latest < settled)
    };
    let old = objects.iter().take_while(|object| is_settled(object)).count();
    let (old, new) = objects.split_at(old);
    let is_new = |object: &Witness<'_>| object.written.is_some_and(|written| settled <= written.latest);
    let shows_growth = old.len() >= WITNESSES && new.len() >= WITNESSES && new.iter().all(is_new);
    old.last().filter(|_| shows_growth).map(|last| last.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: i64 = 1_000;

    /// Objects with their keys and when they were written.
    fn start(objects: &[(String, i64)]) -> Option<String> {
        let witness = |(key, at): &(String, i64)| -> (String, Interval) {
            let at = Timestamp::from_secs(*at);
            (key.clone(), Interval { earliest: at, latest: at })
        };
        let objects: Vec<_> = objects.iter().map(witness).collect();
        let witnesses = objects
            .iter()
            .map(|(key, written)| Witness { key, written: Some(*written), is_done: true })
            .collect();
        start_of(witnesses, Timestamp::from_secs(SETTLED)).map(str::to_owned)
    }

    /// A key for each second, named by it.
    fn growing(seconds: std::ops::Range<i64>, name: &str) -> Vec<(String, i64)> {
        seconds.map(|at| (format!("{name}{at:05}"), at)).collect()
    }

    #[test]
    fn keys_with_the_time_in_them_are_listed_from_the_last_old_one() {
        assert_eq!(start(&growing(900..1_050, "a")).as_deref(), Some("a00999"));
    }

    #[test]
    fn random_keys_are_listed_whole() {
        let mut rng = fastrand::Rng::with_seed(7);
        let random: Vec<_> = (900..1_100).map(|at| (format!("{:016x}", rng.u64(..)), at)).collect();
        assert_eq!(start(&random), None);
    }

    #[test]
    fn keys_that_grow_for_each_of_two_writers_are_listed_whole() {
        assert_eq!(start(&[growing(900..1_050, "a"), growing(900..1_050, "b")].concat()), None);
    }

    #[test]
    fn one_new_key_among_the_old_ones_is_enough_to_list_all() {
        let mut keys = growing(900..1_050, "a");
        keys.push(("a00920-late".to_owned(), 1_020));
        assert_eq!(start(&keys), None);
    }

    #[test]
    fn few_keys_show_nothing() {
        assert_eq!(start(&growing(990..1_050, "a")), None);
        assert_eq!(start(&growing(900..1_010, "a")), None);
    }

    #[test]
    fn an_object_that_is_still_to_be_read_is_listed_again() {
        let keys = growing(900..1_050, "a");
        let at = |secs| Timestamp::from_secs(secs);
        let witnesses = keys.iter().map(|(key, secs)| Witness {
            key,
            written: Some(Interval { earliest: at(*secs), latest: at(*secs) }),
            is_done: *secs != 950,
        });
        assert_eq!(start_of(witnesses.collect(), at(SETTLED)), None);
    }
}
