//! Where settings come from: the file, the environment, and which of them said what.
//!
//! figment merges the two and remembers the provider of every value. Values are taken one by one,
//! so that one bad value does not hide the next.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use toml::de::{DeTable, DeValue};

use super::value::Kind;

/// What every variable begins with. `FRONTROW_SERVER__TCP` is `tcp` of `[server]`.
pub const ENV_PREFIX: &str = "FRONTROW_";
const ENV_SEPARATOR: &str = "__";
/// Variables of the commands that talk to a server (`frontrow --help`), however much they look like settings.
const OF_COMMANDS: [&str; 4] = ["URL", "TOKEN", "ADMIN_KEY", "DATA"];

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default holds.
    Default,
    /// In the file, at this line; 0 if it is about the file as a whole.
    File {
        /// The configuration file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// In the environment variable of this name.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "not set"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "{name}"),
        }
    }
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{}{message}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// The setting, like `server.tcp`; empty if it is about no single one.
    pub key: String,
    /// What was found and what is allowed or to be done.
    pub message: String,
}

/// A setting as it was read, for explaining.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    /// The text, or a stand-in for a secret.
    pub(super) text: String,
    pub(super) default: &'static str,
    pub(super) origin: Origin,
}

/// The file and the environment, merged.
pub(super) struct Source {
    figment: Figment,
    file: Option<PathBuf>,
    lines: BTreeMap<String, usize>,
    env_names: BTreeMap<String, String>,
    /// Variables that name no section: name, and what follows the prefix in lower case.
    others: Vec<(String, String)>,
    pub(super) settings: Vec<Setting>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Source {
    /// Reads the file, if there is one, and takes what concerns it from `env`.
    pub(super) fn read(path: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut source = Self {
            figment: Figment::new(),
            file: path.map(Path::to_path_buf),
            lines: BTreeMap::new(),
            env_names: BTreeMap::new(),
            others: Vec::new(),
            settings: Vec::new(),
            mistakes: Vec::new(),
        };
        let file = path.map(|path| source.read_file(path)).unwrap_or_default();
        let env = source.read_env(env);
        source.figment = Figment::from(file).merge(env);
        source
    }

    fn read_file(&mut self, path: &Path) -> Tree {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message =
                    format!("the configuration cannot be read ({error}); check the path and its permissions");
                self.at_line(0, String::new(), message);
                return Tree::default();
            }
        };
        let line_of = |at: usize| 1 + text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count();
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let line = error.span().map_or(0, |span| line_of(span.start));
            self.at_line(
                line,
                String::new(),
                format!("this is not TOML: {}", error.message().replace('\n', ", ")),
            );
        }
        let values = convert(table.get_ref(), "", &mut |key, at| {
            self.lines.insert(key, line_of(at));
        });
        Tree { name: "file", values }
    }

    /// Variables with `__` name settings; others are somebody else's, unless they look like a slip.
    fn read_env(&mut self, env: impl IntoIterator<Item = (String, String)>) -> Tree {
        let mut values = Dict::new();
        for (name, text) in env {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let key = rest.to_ascii_lowercase().replace(ENV_SEPARATOR, ".");
            if !rest.contains(ENV_SEPARATOR) {
                let of_others = OF_COMMANDS.contains(&rest) || of_an_orchestrator(&name, &text);
                if !of_others && !self.slip(&name, &key) {
                    self.others.push((name, key));
                }
                continue;
            }
            let nested = figment::util::nest(&key, Value::from(text));
            if let Value::Dict(_, dict) = nested {
                merge(&mut values, dict);
            }
            self.env_names.insert(key, name);
        }
        Tree { name: "environment", values }
    }

    /// `FRONTROW_SERVER_TCP` looks like `FRONTROW_SERVER__TCP`, but sets nothing. Whether it is one.
    fn slip(&mut self, name: &str, key: &str) -> bool {
        let section = super::SECTIONS.iter().find(|section| {
            key.strip_prefix(**section).is_some_and(|rest| rest.starts_with('_'))
                && !super::SECTIONS.contains(&key)
        });
        if let Some(section) = section {
            let rest = key[section.len() + 1..].to_ascii_uppercase();
            let message = format!(
                "a section and its key are joined by two underscores; did you mean {ENV_PREFIX}{}{ENV_SEPARATOR}{rest}?",
                section.to_ascii_uppercase()
            );
            self.mistakes.push(Mistake { origin: Origin::Env(name.to_owned()), key: String::new(), message });
        }
        section.is_some()
    }

    /// `FRONTROW_SERVRE_TCP` is nobody else's either: a letter away from a setting.
    fn near_slips(&mut self, known: &[&'static str]) {
        for (name, key) in std::mem::take(&mut self.others) {
            let near = known.iter().map(|known| (distance(&key, &known.replace('.', "_")), *known)).min();
            let Some((_, known)) = near.filter(|(steps, _)| *steps <= 2) else { continue };
            let meant = known.to_ascii_uppercase().replace('.', ENV_SEPARATOR);
            let message = format!("this sets nothing; did you mean {ENV_PREFIX}{meant}?");
            self.mistakes.push(Mistake { origin: Origin::Env(name), key: String::new(), message });
        }
    }

    fn at_line(&mut self, line: usize, key: String, message: String) {
        let path = self.file.clone().unwrap_or_default();
        self.mistakes.push(Mistake { origin: Origin::File { path, line }, key, message });
    }

    /// Where `key` was set.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let value = self.figment.find_value(key).ok();
        let provider = value.as_ref().and_then(|value| self.figment.get_metadata(value.tag()));
        if let (Some("environment"), Some(name)) =
            (provider.map(|it| it.name.as_ref()), self.env_names.get(key))
        {
            return Origin::Env(name.clone());
        }
        match (&self.file, self.lines.get(key)) {
            (Some(path), Some(&line)) => Origin::File { path: path.clone(), line },
            _ => Origin::Default,
        }
    }

    /// Whether something is wrong with `key` already: its default stands in for it then, of which nobody wants to hear.
    pub(super) fn is_mistaken(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    /// Notes that the value of `key` is wrong.
    pub(super) fn mistake(&mut self, key: &str, message: impl Into<String>) {
        let origin = self.origin(key);
        self.mistakes.push(Mistake { origin, key: key.to_owned(), message: message.into() });
    }

    /// Takes a setting. A bad value is noted, and the default goes on in its place.
    pub(super) fn take<T: 'static>(&mut self, key: &'static str, default: &'static str, kind: &Kind<T>) -> T {
        self.take_shown(key, default, kind, str::to_owned)
    }

    /// As [`Source::take`], for a value that is never shown.
    pub(super) fn take_secret<T: 'static>(&mut self, key: &'static str, kind: &Kind<T>) -> T {
        self.take_shown(key, "", kind, |_| "(not shown)".to_owned())
    }

    /// Takes a table of names that somebody else gives: `"a.b" = 1` and `a.b = 1` are the same. What is in it is not shown.
    pub(super) fn take_table(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let found = self.figment.find_value(key).ok();
        let mut table = BTreeMap::new();
        match &found {
            Some(value @ Value::Dict(..)) => texts(value, String::new(), &mut table),
            Some(_) => self.mistake(key, format!("is a table; write what is in it below [{key}]")),
            None => {}
        }
        let names: Vec<&str> = table.keys().map(String::as_str).collect();
        let text = format!("{} (not shown)", names.join(", "));
        let origin = if table.is_empty() { Origin::Default } else { self.table_origin(key) };
        self.settings.push(Setting { key, text, default: "", origin });
        table
    }

    /// Where the first of a table was set.
    fn table_origin(&self, key: &str) -> Origin {
        let inside = |name: &&String| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        let in_env = self.env_names.iter().find(|(name, _)| inside(name));
        let in_file = self.lines.iter().filter(|(name, _)| inside(name)).map(|(_, line)| *line).min();
        match (&self.file, in_file, in_env) {
            (Some(path), Some(line), _) => Origin::File { path: path.clone(), line },
            (_, _, Some((_, name))) => Origin::Env(name.clone()),
            _ => self.origin(key),
        }
    }

    fn take_shown<T: 'static>(
        &mut self,
        key: &'static str,
        default: &'static str,
        kind: &Kind<T>,
        show: fn(&str) -> String,
    ) -> T {
        let found = self.figment.find_value(key).ok();
        let origin = self.origin(key);
        let mut taken = None;
        let mut shown = default.to_owned();
        if let Some(value) = found {
            let text = flatten(&value);
            shown = show(text.as_deref().unwrap_or("a table"));
            taken = text.as_deref().and_then(|text| kind.parse(text));
            if taken.is_none() {
                self.mistake(key, format!("`{shown}` is not allowed; give {}", kind.allowed));
            }
        }
        self.settings.push(Setting { key, text: shown, default, origin });
        taken.or_else(|| kind.parse(default)).unwrap_or_else(|| {
            unreachable!("the default of {key} is one of its own values; a test takes all of them")
        })
    }

    /// Notes every key that nobody took.
    pub(super) fn finish(&mut self) {
        let values = self.figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        let mut keys = Vec::new();
        leaves(&values, String::new(), &mut keys);
        let known: Vec<&'static str> = self.settings.iter().map(|setting| setting.key).collect();
        self.near_slips(&known);
        for key in keys {
            let inside = known.iter().any(|known| {
                *known == key || key.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
            });
            if super::SECTIONS.contains(&key.as_str()) {
                self.mistake(&key, format!("is a section; write its settings below [{key}]"));
            } else if !inside {
                let hint = nearest(&key, &known).map_or_else(
                    || "see tuning/frontrow.toml for all settings".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                self.mistake(&key, format!("there is no such setting; {hint}"));
            }
        }
    }
}

/// A provider's values with the name that figment remembers them by.
#[derive(Default)]
struct Tree {
    name: &'static str,
    values: Dict,
}

impl Provider for Tree {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// TOML to figment's values, telling `place` the byte at which every key stands.
fn convert(table: &DeTable<'_>, prefix: &str, place: &mut impl FnMut(String, usize)) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        place(path.clone(), key.span().start);
        let value = match value.get_ref() {
            DeValue::Table(table) => Value::from(convert(table, &path, place)),
            other => Value::from(plain(other)),
        };
        dict.insert(name, value);
    }
    dict
}

/// A TOML value as the text it is read from; lists as `[a, b]`.
fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_or(digits, |n| n.to_string())
        }
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| plain(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

fn flatten(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What is in a table, with points between the names of tables in it.
fn texts(value: &Value, path: String, out: &mut BTreeMap<String, String>) {
    if let Value::Dict(_, dict) = value {
        for (key, value) in dict {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            texts(value, path, out);
        }
    } else if let Some(text) = flatten(value) {
        out.insert(path, text);
    }
}

fn merge(into: &mut Dict, from: Dict) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Dict(_, inner)), Value::Dict(_, more)) => merge(inner, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn leaves(value: &Value, path: String, out: &mut Vec<String>) {
    match value {
        Value::Dict(_, dict) if !dict.is_empty() => {
            for (key, value) in dict {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(value, path, out);
            }
        }
        // An empty section says nothing wrong.
        Value::Dict(_, _) if super::SECTIONS.contains(&path.as_str()) => {}
        _ if path.is_empty() => {}
        _ => out.push(path),
    }
}

/// The known key that `key` was most probably meant to be.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let moved = known.iter().find(|known| last(known) == last(key)).copied();
    let near = known.iter().map(|known| (distance(key, known), *known)).min();
    near.filter(|(steps, _)| *steps <= 3).map(|(_, known)| known).or(moved)
}

/// Edit distance (Levenshtein): insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Whether Kubernetes sets `name` in every container beside a service that is called `frontrow` or `frontrow-server`:
/// `FRONTROW_SERVICE_HOST`, `FRONTROW_SERVER_SERVICE_PORT_HTTP`, `FRONTROW_PORT_7410_TCP_ADDR`, `FRONTROW_PORT=tcp://...`.
fn of_an_orchestrator(name: &str, text: &str) -> bool {
    let of_service = name.ends_with("_SERVICE_HOST")
        || name.split_once("_SERVICE_PORT").is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('_'));
    let of_port = |(_, rest): (&str, &str)| rest.starts_with(|it: char| it.is_ascii_digit());
    of_service
        || name.split_once("_PORT_").is_some_and(of_port)
        || (name.ends_with("_PORT") && text.contains("://"))
}
