//! The configuration file and the environment.

use toml::Table;
use traceprobe::config::{Config, TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED};
use traceprobe::domain::topology::Topology;

use super::world::KEY;

/// A file, and after a NUL the environment, `NAME=value` in lines. What is shown of a valid configuration is
/// valid TOML without the key; a faulty one has at least one fault with a text.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, env) = text.split_once('\0').unwrap_or((text, ""));
    let env = env.lines().filter_map(|line| line.split_once('='));
    // A path from outside must not be read here, and the host's name must not matter.
    let env = env.filter(|(name, _)| ![TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED].contains(name));
    let fixed = [(TAG_KEY, KEY), ("HOSTNAME", "probe-1")];
    let env = fixed.into_iter().chain(env).map(|(name, value)| (name.to_owned(), value.to_owned()));
    match Config::parse(file, env) {
        Ok(config) => {
            let shown = config.to_toml_without_secrets();
            assert!(shown.parse::<Table>().is_ok(), "not TOML: {shown}");
            let json = config.to_json_without_secrets().to_string();
            // The text may hold the key only if the file itself has it in another place.
            assert!(text.contains(KEY) || !(shown.contains(KEY) || json.contains(KEY)), "shows the key");
            let _: Topology = config.topology();
        }
        Err(faults) => {
            assert!(!faults.list.is_empty(), "refused without a fault");
            assert!(faults.list.iter().all(|fault| !fault.message.is_empty()), "a fault without a text");
            assert!(text.contains(KEY) || !faults.to_string().contains(KEY), "shows the key");
        }
    }
}
