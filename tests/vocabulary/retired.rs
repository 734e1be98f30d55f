//! The retired words and phrases, what replaces them, and exceptions.

pub struct Retired {
    /// Alternatives in lower case, separated by `|`.
    pub forms: &'static str,
    pub instead: &'static str,
}

const fn retired(forms: &'static str, instead: &'static str) -> Retired {
    Retired { forms, instead }
}

/// Retired in names: identifiers, files and folders, metrics and labels, keys.
pub const WORDS: [Retired; 22] = [
    retired("look|looks|looked|looking|sweep|sweeps|swept|sweeping", "poll"),
    retired("reading|readings|pass|passes", "poll, or clock pair"),
    retired("turn|turns", "round, or rate limit"),
    retired("vouch|vouches|vouched", "covered"),
    retired("sight|sights", "visibility"),
    retired("gravity|rank|ranks", "severity"),
    retired("looker|lookers", "observer"),
    retired("keeper|keepers", "store writer"),
    retired("journal|journals", "log"),
    retired("rider|riders", "recently seen"),
    retired("nobody|nowhere", "unknown, or not found"),
    retired("aside", "deferred, dead letter, or blocking"),
    retired("unread", "unreadable"),
    retired("share|shares", "ratio, or budget"),
    retired("ask|asks|asked|asking", "request, or query"),
    retired("born", "initialised"),
    retired("stretch|stretches", "hop range"),
    retired("life|lives", "run"),
    retired("trouble|troubles", "failure"),
    retired("vain", "empty polls"),
    retired("branch|branches", "side stage"),
    retired("desk|desks|hand|hands|book|books|scissors|bell|bells|riddle|riddles", "what it is"),
];

/// Retired in prose: comments, string literals and documents. Matches whole words, also across line breaks.
pub const PHRASES: [Retired; 13] = [
    retired("sweep|sweeps|a look|each look|every look|one look|the look|the looks|two looks", "poll"),
    retired("next look|last look|first look|looks at a source|look at a source|look at the source", "poll"),
    retired("in vain", "not found in N polls"),
    retired("earlier life|a life before", "previous run"),
    retired("nobody can say|nobody knows", "unknown, or cannot be determined"),
    retired("beside the way|off the way|side branch|side branches", "side stage, or off the main path"),
    retired("born at|is born|are born", "initialised"),
    retired("vouch|vouches|vouched", "covers, or proves"),
    retired("put aside|puts aside", "deferred, or dead-lettered"),
    retired("anew", "again"),
    retired("in words", "as text"),
    retired("see the module", "a sentence that says it"),
    retired("stands for itself", "is literal"),
];

/// String literals must not have `"30sec" is no duration` but `is not a valid duration`. These words may
/// follow "is no".
pub const AFTER_NO: [&str; 6] = ["longer", "more", "less", "better", "worse", "secret"];

pub struct Exception {
    /// The begin of the path.
    pub file: &'static str,
    /// The whole identifier or phrase.
    pub name: &'static str,
    pub reason: &'static str,
}

pub const EXCEPTIONS: [Exception; 5] = [
    Exception {
        file: "src/domain/format.rs",
        name: "Journal",
        reason: "the file format of systemd-journald",
    },
    Exception {
        file: "src/observe/decode/magic.rs",
        name: "Journal",
        reason: "the file format of systemd-journald",
    },
    Exception {
        file: "src/observe/decode/tests/formats.rs",
        name: "Journal",
        reason: "the file format of systemd-journald",
    },
    Exception { file: "src/store/mod.rs", name: "journal_mode", reason: "a pragma of SQLite" },
    Exception { file: "src/store/mod.rs", name: "journal_size_limit", reason: "a pragma of SQLite" },
];
