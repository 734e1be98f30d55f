//! What reads bytes from outside, as functions that panic where a promise does not hold.
//!
//! They run coverage-guided with `make fuzz`, and over the corpus in every `make test`.

mod answers;
mod configuration;
pub mod keys;
mod pieces;
mod records;
pub mod tags;
mod web;
pub mod world;

/// A target: takes any bytes, and panics if what they do to the program is wrong.
pub type Target = fn(&[u8]);

/// All targets by name. The name is also that of the folder with its corpus.
pub const ALL: [(&str, Target); 18] = [
    ("decode", records::decode),
    ("codec_gzip", records::codec::<0>),
    ("codec_zlib", records::codec::<1>),
    ("codec_zstd", records::codec::<2>),
    ("codec_bzip2", records::codec::<3>),
    ("codec_lz4", records::codec::<4>),
    ("codec_lz4_legacy", records::codec::<5>),
    ("codec_snappy_framed", records::codec::<6>),
    ("codec_snappy_hadoop", records::codec::<7>),
    ("codec_snappy_xerial", records::codec::<8>),
    ("kpl", records::kpl),
    ("tag", tags::tag),
    ("key_template", keys::key_template),
    ("configuration", configuration::configuration),
    ("bigquery_rows", answers::bigquery_rows),
    ("gcs_listing", answers::gcs_listing),
    ("s3_listing", answers::s3_listing),
    ("web", web::web),
];
