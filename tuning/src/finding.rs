//! One thing found on a machine.

use serde::Serialize;

use crate::ReadError;

/// How much a finding matters; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// Worth knowing; nothing must be done.
    Note,
    /// It costs speed, or will under load.
    Warn,
    /// With this the server will fail, lie idle or lose much of its speed.
    Bad,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A value to be written to a file of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Absolute path below `/proc/sys` or `/sys`.
    pub path: String,
    /// What to write.
    pub value: String,
}

impl Step {
    /// Writes `value` to `path`.
    pub fn new(path: impl Into<String>, value: impl std::fmt::Display) -> Self {
        Self { path: path.into(), value: format!("{value}") }
    }

    /// The name that sysctl.d knows it by, if it does.
    pub fn sysctl(&self) -> Option<String> {
        self.path.strip_prefix("/proc/sys/").map(|rest| rest.replace('/', "."))
    }
}

/// How to mend what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// The command or the setting, exactly.
    pub how: String,
    /// What `tune apply` would write; empty if it cannot do it.
    pub steps: Vec<Step>,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable name, like `thp`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, with its value.
    pub found: String,
    /// Where that was read or how it was measured.
    pub source: String,
    /// Why it matters for Frontrow; empty if all is well.
    pub why: String,
    /// How to mend it, if there is anything to mend.
    pub mend: Option<Mend>,
}

impl Finding {
    /// As it should be.
    pub fn ok(id: &'static str, found: impl Into<String>, source: impl Into<String>) -> Self {
        let (found, source) = (found.into(), source.into());
        Self { id, severity: Severity::Ok, found, source, why: String::new(), mend: None }
    }

    /// It could not be found out, and why.
    pub fn unknown(id: &'static str, why: &ReadError) -> Self {
        let source = match why {
            ReadError::File { path, .. } | ReadError::Text { path, .. } => path.clone(),
        };
        Self { severity: Severity::Unknown, ..Self::ok(id, why.to_string(), source) }
    }

    /// As serious as `severity`, because of `why`.
    #[must_use]
    pub fn because(self, severity: Severity, why: impl Into<String>) -> Self {
        Self { severity, why: why.into(), ..self }
    }

    /// To be mended by hand.
    #[must_use]
    pub fn by_hand(self, how: impl Into<String>) -> Self {
        Self { mend: Some(Mend { how: how.into(), steps: Vec::new() }), ..self }
    }

    /// To be mended by writing files; the words are the commands that do the same.
    #[must_use]
    pub fn by_writing(self, steps: Vec<Step>) -> Self {
        let command = |step: &Step| match step.sysctl() {
            Some(name) if step.value.contains(' ') => format!("sysctl -w {name}=\"{}\"", step.value),
            Some(name) => format!("sysctl -w {name}={}", step.value),
            None => format!("echo {} > {}", step.value, step.path),
        };
        let shown: Vec<String> = steps.iter().take(3).map(command).collect();
        let more = steps.len().saturating_sub(3);
        let more =
            if more > 0 { format!("; and {more} more, see `frontrow tune render`") } else { String::new() };
        let how = format!("{}{more}", shown.join("; "));
        Self { mend: Some(Mend { how, steps }), ..self }
    }

    /// Words added to how it is mended.
    #[must_use]
    pub fn or_else(mut self, other: &str) -> Self {
        if let Some(mend) = &mut self.mend {
            mend.how = format!("{}; {other}", mend.how);
        }
        self
    }

    /// Whether `tune apply` can mend it.
    pub fn can_apply(&self) -> bool {
        self.mend.as_ref().is_some_and(|mend| !mend.steps.is_empty())
    }
}
