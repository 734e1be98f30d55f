//! Facts about whole configurations.
