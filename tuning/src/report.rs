//! All findings together, for people and for machines.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{Finding, Severity};

/// Columns of text.
const WIDTH: usize = 110;
const ID_WIDTH: usize = 16;

/// What a check found, the worst first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Worst first; among equals in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Puts the worst first.
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { findings }
    }

    /// Whether anything is bad.
    pub fn is_bad(&self) -> bool {
        self.count(Severity::Bad) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// One line: the verdict.
    pub fn verdict(&self) -> String {
        let counts = [Severity::Bad, Severity::Warn, Severity::Note, Severity::Unknown, Severity::Ok]
            .map(|severity| (self.count(severity), severity.name()));
        let counts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect();
        let word = match (self.count(Severity::Bad), self.count(Severity::Warn)) {
            (0, 0) => "This machine is set up well for Frontrow",
            (0, _) => "This machine will do, and can do better",
            _ => "This machine is not ready for Frontrow",
        };
        let can = self.findings.iter().filter(|finding| finding.can_apply()).count();
        let apply = if can > 0 {
            format!(" `frontrow tune render` prints a script that mends {can} of them.")
        } else {
            String::new()
        };
        format!("{word}: {}.{apply}", counts.join(", "))
    }

    /// Aligned text, the verdict first.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.verdict());
        for finding in &self.findings {
            let head = format!("{:<8}{:<ID_WIDTH$}", finding.severity.name(), finding.id);
            let quiet = finding.severity == Severity::Ok;
            if !quiet {
                out.push('\n');
            }
            paragraph(&mut out, &head, &finding.found);
            if quiet {
                continue;
            }
            let indent = " ".repeat(8);
            let mut line = |name: &str, text: &str| {
                paragraph(&mut out, &format!("{indent}{name:<ID_WIDTH$}"), text);
            };
            if !finding.why.is_empty() {
                line("why", &finding.why);
            }
            if let Some(mend) = &finding.mend {
                let by = if mend.steps.is_empty() { "" } else { "   (tune apply does it)" };
                line("mend", &format!("{}{by}", mend.how));
            }
            line("from", &finding.source);
        }
        out
    }

    /// One object, with the same in keys.
    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "id": finding.id, "severity": finding.severity, "found": finding.found,
                "source": finding.source, "why": finding.why,
                "mend": finding.mend.as_ref().map(|mend| &mend.how),
                "steps": finding.mend.as_ref().map_or(&[][..], |mend| &mend.steps),
                "apply": finding.can_apply(),
            })
        });
        let findings: Vec<Value> = findings.collect();
        json!({"ok": !self.is_bad(), "verdict": self.verdict(), "findings": findings})
    }
}

/// Words behind `head`, further lines set in as far.
fn paragraph(out: &mut String, head: &str, text: &str) {
    let indent = head.chars().count().max(8 + ID_WIDTH);
    let mut line = format!("{head:<indent$}");
    let mut fresh = true;
    for word in text.split(' ') {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(indent);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;

    #[test]
    fn the_worst_comes_first_and_lines_are_aligned() {
        let report = Report::new(vec![
            Finding::ok("clock", "tsc", "/sys/clock"),
            Finding::ok("thp", "madvise", "/sys/thp")
                .because(Severity::Warn, "small pages ".repeat(20).trim())
                .by_writing(vec![Step::new("/proc/sys/vm/x", "1 2")]),
            Finding::ok("io_uring", "forbidden", "a ring").because(Severity::Bad, "slow").by_hand("allow it"),
        ]);
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "This machine is not ready for Frontrow: 1 bad, 1 warn, 1 ok. `frontrow tune render` prints a script \
             that mends 1 of them."
        );
        assert_eq!(lines[2], "bad     io_uring        forbidden");
        assert_eq!(lines[3], "        why             slow");
        assert!(text.contains("sysctl -w vm.x=\"1 2\"   (tune apply does it)"), "{text}");
        assert!(text.ends_with("\nok      clock           tsc\n"), "{text}");
        assert!(lines.iter().skip(1).all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(report.is_bad() && report.json()["findings"][0]["id"] == "io_uring");
    }
}
