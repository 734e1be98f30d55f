//! Reading settings: tables of a file, the environment over them, and every fault of both at once.
//!
//! Tables are read by hand and not through `serde`, which stops at the first fault: somebody who mends a configuration at
//! night wants the whole list. Each fault has the key, the value and what would be right.
//!
//! The ground floor: whoever has settings lists their keys ([`key`]), reads them with a [`reader::Reader`] and parses
//! them with the functions in [`value`]. It must know no word of the product: which tables there are, and what their
//! keys mean, is for those who read them. It must never quote a secret.

pub(crate) mod fault;
pub(crate) mod key;
pub(crate) mod reader;
pub(crate) mod secret;
pub(crate) mod value;
