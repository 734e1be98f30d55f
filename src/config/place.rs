//! Where the text of a configuration is: in a file, or in a variable of the environment.
//!
//! A container on ECS can mount no single file, but a task definition can fill a variable from Systems Manager or
//! Secrets Manager, so that adding a tenant needs no new image.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Table;

use super::{Config, keys};
use crate::keys::fault::{Fault, Faults};
use crate::keys::key::Fallback;
use crate::keys::value;

/// The variable that holds the whole text of a configuration, in place of a file.
pub const CONFIG_TEXT: &str = "TRACEPROBE_CONFIG_TEXT";
/// The variable with the path of the file, which `--config` overrides.
pub const CONFIG_FILE: &str = "TRACEPROBE_CONFIG";
/// The file that is read if neither names one; the image and the unit of systemd have it there.
pub const DEFAULT_FILE: &str = "/etc/traceprobe/traceprobe.toml";
/// Overrides `probe.listen`.
const LISTEN: &str = "TRACEPROBE_PROBE_LISTEN";
/// Overrides `web.config_file`.
const WEB_FILE: &str = "TRACEPROBE_WEB_CONFIG_FILE";

/// Where a configuration is read, and read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file that the user named.
    File(PathBuf),
    /// [`CONFIG_TEXT`]. It cannot change while the process runs.
    Variable,
    /// [`DEFAULT_FILE`], because nothing was named.
    DefaultFile,
}

impl Place {
    /// Chooses between the file that a user named, if any, and the text in the environment.
    ///
    /// # Errors
    ///
    /// [`Faults`] if both are given, since one of them would be ignored without a word.
    pub fn choose(file: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let text = env.get(CONFIG_TEXT).filter(|text| !text.is_empty());
        match (file, text) {
            (Some(file), Some(_)) => Err(one_fault(
                CONFIG_TEXT,
                CONFIG_TEXT.to_owned(),
                format!(
                    "is set, and {} is named by --config or {CONFIG_FILE} as well; set only one of them",
                    file.display()
                ),
            )),
            (Some(file), None) => Ok(Self::File(file.to_owned())),
            (None, Some(_)) => Ok(Self::Variable),
            (None, None) => Ok(Self::DefaultFile),
        }
    }

    /// Reads the configuration and the environment variables that override it.
    ///
    /// # Errors
    ///
    /// [`Faults`], all of them at once.
    pub fn load(&self, env: BTreeMap<String, String>) -> Result<Config, Faults> {
        let text = self.text(&env)?;
        Config::parse_named(&self.name(), &text, env)
    }

    /// The address at which a daemon with this configuration listens, for who wants to ask it something. Needs no
    /// valid configuration: a daemon goes on with what it read although the file has become faulty since.
    ///
    /// # Errors
    ///
    /// [`Faults`] if the address that is set cannot be read, or the file that the user named.
    pub fn listen(&self, env: &BTreeMap<String, String>) -> Result<SocketAddr, Faults> {
        let fallback = match keys::PROBE[0].fallback {
            Fallback::Value(text) => text,
            Fallback::Required | Fallback::Elsewhere => "0.0.0.0:9464",
        };
        let variable = env.get(LISTEN).filter(|text| !text.is_empty());
        let listen = match variable {
            Some(text) => Some(toml::Value::from(text.as_str())),
            None => self.readable_text(env)?.and_then(|text| in_file(&text, "probe", "listen")),
        };
        let key = if variable.is_some() { LISTEN } else { "probe.listen" };
        value::socket(&listen.unwrap_or_else(|| fallback.into()))
            .map_err(|message| one_fault(&self.name(), key.to_owned(), message))
    }

    /// Whether a daemon with this configuration speaks TLS, as far as can be told without reading all of it.
    #[must_use]
    pub fn has_tls(&self, env: &BTreeMap<String, String>) -> bool {
        let variable = env.get(WEB_FILE).filter(|text| !text.is_empty()).cloned();
        let in_text = || in_file(&self.text(env).ok()?, "web", "config_file")?.as_str().map(str::to_owned);
        let file = variable.or_else(in_text).and_then(|file| std::fs::read_to_string(file).ok());
        // A table at the top level begins its line.
        file.is_some_and(|text| text.lines().any(|line| line.starts_with("tls_server_config:")))
    }

    /// Its name in messages.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Variable => CONFIG_TEXT.to_owned(),
            Self::DefaultFile => DEFAULT_FILE.to_owned(),
        }
    }

    /// The text; `None` if it cannot be read and the user named no file.
    fn readable_text(&self, env: &BTreeMap<String, String>) -> Result<Option<String>, Faults> {
        match self {
            Self::File(_) => self.text(env).map(Some),
            Self::Variable | Self::DefaultFile => Ok(self.text(env).ok()),
        }
    }

    fn text(&self, env: &BTreeMap<String, String>) -> Result<String, Faults> {
        let (path, hint) = match self {
            Self::Variable => return Ok(env.get(CONFIG_TEXT).cloned().unwrap_or_default()),
            Self::File(path) => (path.as_path(), String::new()),
            Self::DefaultFile => (
                Path::new(DEFAULT_FILE),
                format!("; name another file with --config, or put the text into {CONFIG_TEXT}"),
            ),
        };
        std::fs::read_to_string(path).map_err(|error| {
            let name = self.name();
            one_fault(&name, name.clone(), format!("cannot be read: {error}{hint}"))
        })
    }
}

/// A key of a text, if it is TOML and has it.
fn in_file(text: &str, table: &str, key: &str) -> Option<toml::Value> {
    let value = text.parse::<Table>().ok()?.get(table)?.get(key)?.clone();
    // An empty text is the same as leaving the key out.
    (value.as_str() != Some("")).then_some(value)
}

fn one_fault(file: &str, key: String, message: String) -> Faults {
    Faults { file: file.to_owned(), list: vec![Fault { key, message }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Where a daemon with these variables listens.
    fn listen(variables: &[(&str, &str)]) -> Result<String, String> {
        let env = env(variables);
        let place = Place::choose(None, &env).unwrap();
        place.listen(&env).map(|address| address.to_string()).map_err(|faults| faults.to_string())
    }

    const TEXT: (&str, &str) = (CONFIG_TEXT, "[probe]\nlisten = \"127.0.0.1:8000\"\n");

    #[test]
    fn a_file_and_a_text_exclude_each_other() {
        let faults = Place::choose(Some(Path::new("/a/b.toml")), &env(&[TEXT])).unwrap_err().to_string();
        assert!(
            faults.contains("TRACEPROBE_CONFIG_TEXT: is set, and /a/b.toml is named by --config"),
            "{faults}"
        );
    }

    #[test]
    fn an_empty_text_is_no_text() {
        assert_eq!(Place::choose(None, &env(&[(CONFIG_TEXT, "")])), Ok(Place::DefaultFile));
        let file = Path::new("/a/b.toml");
        assert_eq!(Place::choose(Some(file), &env(&[(CONFIG_TEXT, "")])), Ok(Place::File(file.to_owned())));
    }

    #[test]
    fn faults_of_a_text_name_the_variable() {
        let env = env(&[(CONFIG_TEXT, "[probe]\nintervall = \"30s\"\n")]);
        let faults = Place::choose(None, &env).unwrap().load(env).unwrap_err();
        assert_eq!(faults.file, CONFIG_TEXT);
        assert!(faults.to_string().contains("probe.intervall: unknown key"), "{faults}");
    }

    #[test]
    fn without_file_or_text_the_message_says_how_to_give_one() {
        let faults = Place::DefaultFile.load(env(&[])).unwrap_err().to_string();
        assert!(faults.contains(DEFAULT_FILE) && faults.contains("--config"), "{faults}");
        assert!(faults.contains(CONFIG_TEXT), "{faults}");
    }

    #[test]
    fn the_address_is_that_of_the_variable_then_of_the_text_then_the_default() {
        let variable = (LISTEN, "127.0.0.1:9000");
        assert_eq!(listen(&[TEXT, variable]), Ok("127.0.0.1:9000".to_owned()));
        assert_eq!(listen(&[TEXT, (LISTEN, "")]), Ok("127.0.0.1:8000".to_owned()));
        for no_address in ["[probe]\n", "[probe]\nlisten = \"\"\n", "not TOML"] {
            assert_eq!(listen(&[(CONFIG_TEXT, no_address)]), Ok("0.0.0.0:9464".to_owned()), "{no_address}");
        }
    }

    #[test]
    fn the_address_of_a_daemon_is_known_although_its_file_has_become_faulty() {
        let text = "[probe]\nlisten = \"127.0.0.1:8000\"\nintervall = 1\n[nonsense]\n";
        assert_eq!(listen(&[(CONFIG_TEXT, text)]), Ok("127.0.0.1:8000".to_owned()));
    }

    #[test]
    fn the_address_is_not_guessed_if_the_file_that_was_named_cannot_be_read() {
        let place = Place::File("/no/such/file.toml".into());
        let faults = place.listen(&env(&[])).unwrap_err().to_string();
        assert!(faults.contains("/no/such/file.toml: cannot be read"), "{faults}");
        let address = place.listen(&env(&[(LISTEN, "127.0.0.1:9000")])).unwrap();
        assert_eq!(address.port(), 9_000);
    }

    #[test]
    fn an_address_that_is_none_is_named_with_its_origin() {
        let faults = listen(&[(LISTEN, "localhost")]).unwrap_err();
        assert!(faults.contains("TRACEPROBE_PROBE_LISTEN: \"localhost\" is not a valid address"), "{faults}");
        let faults = listen(&[(CONFIG_TEXT, "[probe]\nlisten = 9464\n")]).unwrap_err();
        assert!(faults.contains("probe.listen: "), "{faults}");
    }
}
