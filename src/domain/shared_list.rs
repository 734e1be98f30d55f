//! A sorted list that is cheap to hand out: a clone shares everything, and a change copies one chunk.
//!
//! The tracker keeps what each source should find in such lists. A list of what waits is handed to the source's
//! observer with every change, and may hold a hundred thousand traces.

use std::sync::Arc;

/// Elements of a full chunk. A change of a list that was handed out copies at most this many, and one pointer for each
/// chunk.
const CHUNK: usize = 64;

/// What a list is sorted by.
pub trait Keyed {
    /// No two elements of a list have the same one.
    type Key: Ord + Copy;

    /// The key of this element.
    fn key(&self) -> Self::Key;
}

/// Elements in the order of their keys, if they are added by [`insert`](Self::insert). A list that was collected keeps the order in which
/// it was collected.
#[derive(Clone, Debug)]
pub struct SharedList<T> {
    /// None is empty.
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Default for SharedList<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<T> SharedList<T> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.chunks.first()?.first()
    }

    /// The first one for which `is_before` does not hold, if it holds for none of those that follow.
    pub fn first_not(&self, is_before: impl Fn(&T) -> bool) -> Option<&T> {
        let at = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is_before));
        let chunk = self.chunks.get(at)?;
        chunk.get(chunk.partition_point(is_before))
    }
}

impl<T: Keyed + Clone> SharedList<T> {
    /// In which chunk an element with this key is, or belongs.
    fn chunk_of(&self, key: T::Key) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.key() < key))
    }

    #[must_use]
    pub fn contains(&self, key: T::Key) -> bool {
        let chunk = self.chunks.get(self.chunk_of(key));
        chunk.is_some_and(|chunk| chunk.binary_search_by_key(&key, T::key).is_ok())
    }

    /// Adds an element. Returns false if one with its key is there already, which stays.
    pub fn insert(&mut self, element: T) -> bool {
        let key = element.key();
        let at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        // Behind all others, which is where most belong.
        let is_last = at == chunks.len();
        let Some(chunk) = chunks.get_mut(if is_last { at.saturating_sub(1) } else { at }) else {
            chunks.push(Arc::new(vec![element]));
            self.len += 1;
            return true;
        };
        let Err(place) = chunk.binary_search_by_key(&key, T::key) else { return false };
        self.len += 1;
        if chunk.len() < CHUNK {
            let chunk = Arc::make_mut(chunk);
            // A clone has no room to spare, and `Vec` would make twice as much as it needs.
            chunk.reserve_exact(CHUNK - chunk.len());
            chunk.insert(place, element);
        } else if is_last {
            chunks.push(Arc::new(vec![element]));
        } else {
            let chunk = Arc::make_mut(chunk);
            let mut rest = chunk.split_off(CHUNK / 2);
            if place <= chunk.len() {
                chunk.insert(place, element);
            } else {
                rest.insert(place - chunk.len(), element);
            }
            chunks.insert(at + 1, Arc::new(rest));
        }
        true
    }

    /// Removes the element with this key. Returns whether there was one.
    pub fn remove(&mut self, key: T::Key) -> bool {
        let at = self.chunk_of(key);
        let Some(place) = self.chunks.get(at).and_then(|chunk| chunk.binary_search_by_key(&key, T::key).ok())
        else {
            return false;
        };
        self.len -= 1;
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks[at].len() == 1 {
            chunks.remove(at);
            return true;
        }
        Arc::make_mut(&mut chunks[at]).remove(place);
        // The few that are left of many would otherwise hold the room of all of them.
        for first in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            if let [this, next, ..] = &chunks[first..]
                && this.len() + next.len() <= CHUNK / 2
            {
                let next = chunks.remove(first + 1);
                let this = Arc::make_mut(&mut chunks[first]);
                this.extend(next.iter().cloned());
                this.shrink_to_fit();
            }
        }
        true
    }

    /// Removes those at the beginning for which `is_before` holds, if it holds for none of those that follow.
    pub fn remove_before(&mut self, is_before: impl Fn(&T) -> bool) {
        if !self.first().is_some_and(&is_before) {
            return;
        }
        let gone = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is_before));
        let chunks = Arc::make_mut(&mut self.chunks);
        let removed: usize = chunks.drain(..gone).map(|chunk| chunk.len()).sum();
        self.len -= removed;
        if let Some(chunk) = chunks.first_mut() {
            let gone = chunk.partition_point(is_before);
            if gone > 0 {
                Arc::make_mut(chunk).drain(..gone);
                self.len -= gone;
            }
        }
    }
}

impl<T: Clone> FromIterator<T> for SharedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let all: Vec<T> = elements.into_iter().collect();
        let chunks = all.chunks(CHUNK).map(|chunk| Arc::new(chunk.to_vec()));
        Self { chunks: Arc::new(chunks.collect()), len: all.len() }
    }
}

impl<T: Clone> From<Vec<T>> for SharedList<T> {
    fn from(elements: Vec<T>) -> Self {
        elements.into_iter().collect()
    }
}

impl<T: Clone, const N: usize> From<[T; N]> for SharedList<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for u32 {
        type Key = Self;

        fn key(&self) -> Self {
            *self
        }
    }

    fn check(list: &SharedList<u32>, expected: &BTreeSet<u32>) -> Result<(), TestCaseError> {
        prop_assert!(list.iter().eq(expected.iter()));
        prop_assert_eq!(list.len(), expected.len());
        prop_assert!(list.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
        Ok(())
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds_and_what_was_handed_out_stays(
            steps in prop::collection::vec((0_u32..400, 0_u8..8), 1..600),
        ) {
            let (mut list, mut expected) = (SharedList::default(), BTreeSet::new());
            let mut handed_out = Vec::new();
            for (number, step) in steps {
                match step {
                    0..4 => prop_assert_eq!(list.insert(number), expected.insert(number)),
                    4..7 => prop_assert_eq!(list.remove(number), expected.remove(&number)),
                    _ => {
                        handed_out.push((list.clone(), expected.clone()));
                        let end = number / 4;
                        list.remove_before(|held| *held < end);
                        expected.retain(|held| *held >= end);
                    }
                }
                check(&list, &expected)?;
                prop_assert_eq!(list.contains(number), expected.contains(&number));
                prop_assert_eq!(list.first_not(|held| *held < number), expected.range(number..).next());
            }
            for (list, expected) in &handed_out {
                check(list, expected)?;
            }
        }
    }

    #[test]
    fn the_few_that_are_left_of_many_fill_few_chunks() {
        let mut list: SharedList<u32> = (0..6_400).collect();
        for number in (0..6_400).filter(|number| number % 64 != 0) {
            list.remove(number);
        }
        assert_eq!(list.len(), 100);
        assert!(list.chunks.len() <= 7, "{} chunks", list.chunks.len());
    }
}
