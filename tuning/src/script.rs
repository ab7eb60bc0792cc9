//! A shell script that mends what was found: to be read before it is run.

use std::fmt::Write;

use crate::apply::UNDO_HEAD;
use crate::{Finding, Report, Step};

/// What every script begins with. `ROOT` is for trying it on a folder.
const HEAD: &str = r#"#!/bin/sh
# Mends what `frontrow tune check` found on this machine. Read it, then run it as root.
# Running it again does no harm: what is already right is left alone. The values of before are kept
# in $UNDO, the first ones found; `sh $UNDO` puts them back. Nothing of it outlives a restart of the
# machine: see the end.
set -u
ROOT=${FRONTROW_TUNE_ROOT:-}
UNDO=${FRONTROW_TUNE_UNDO:-/var/lib/frontrow-tune-undo.sh}
failed=0

# put PATH VALUE: keeps the value of before, and writes the new one.
put() {
    file=$ROOT$1
    if [ ! -e "$file" ]; then echo "skipped  $1: not on this machine"; return; fi
    # Files of choices show the one in force in brackets.
    old=$(tr -s '\t' ' ' < "$file" | sed 's/.*\[\(.*\)\].*/\1/')
    if [ "$old" = "$2" ]; then echo "already  $1 = $2"; return; fi
    if [ ! -s "$UNDO" ]; then
        cat > "$UNDO" <<'END' || exit 1
"#;
/// The rest of it, behind the undo script's own head.
const PUT: &str = r#"END
    fi
    grep -qF "put '$1' " "$UNDO" || echo "put '$1' '$old'" >> "$UNDO" || exit 1
    if { echo "$2" > "$file"; } 2>/dev/null; then
        echo "changed  $1: $old -> $2"
    else
        echo "FAILED   $1 = $2"
        failed=1
    fi
}
"#;

/// The script for everything that can be mended by writing, with the rest as remarks.
pub fn render(report: &Report) -> String {
    let mut out = format!("{HEAD}{UNDO_HEAD}{PUT}");
    let (can, hand): (Vec<&Finding>, Vec<&Finding>) = report
        .findings
        .iter()
        .filter(|finding| finding.mend.is_some())
        .partition(|finding| finding.can_apply());
    if can.is_empty() {
        out.push_str("\n# Nothing was found that writing a value would mend.\n");
    }
    for finding in &can {
        let _ = writeln!(out, "\n# {} ({}): {}", finding.id, finding.severity.name(), finding.found);
        let _ = writeln!(out, "# {}", finding.why);
        for step in steps(finding) {
            let _ = writeln!(out, "put '{}' '{}'", step.path, step.value);
        }
    }
    out.push_str("\n[ -s \"$UNDO\" ] && echo \"To undo: sh $UNDO\"\n");
    if !hand.is_empty() {
        out.push_str("\n# To be mended by hand:\n");
        for finding in &hand {
            let how = finding.mend.as_ref().map_or("", |mend| mend.how.as_str());
            let _ = writeln!(out, "#   {} ({}): {how}", finding.id, finding.severity.name());
        }
    }
    lasting(&mut out, &can);
    out.push_str("exit $failed\n");
    out
}

/// Every step of all findings, each path once.
pub fn all_steps(report: &Report) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    for step in report.findings.iter().flat_map(steps) {
        if !all.iter().any(|it| it.path == step.path) {
            all.push(step.clone());
        }
    }
    all
}

fn steps(finding: &Finding) -> &[Step] {
    finding.mend.as_ref().map_or(&[], |mend| &mend.steps)
}

/// How the same values outlive a restart, as remarks.
fn lasting(out: &mut String, findings: &[&Finding]) {
    let all: Vec<&Step> = findings.iter().flat_map(|finding| steps(finding)).collect();
    let (sysctls, files): (Vec<&&Step>, Vec<&&Step>) = all.iter().partition(|step| step.sysctl().is_some());
    if !sysctls.is_empty() {
        out.push_str("\n# To outlive a restart, in /etc/sysctl.d/91-frontrow-machine.conf:\n");
        for step in sysctls {
            let _ = writeln!(out, "#   {} = {}", step.sysctl().unwrap_or_default(), step.value);
        }
    }
    if !files.is_empty() {
        out.push_str("\n# To outlive a restart, in /etc/tmpfiles.d/frontrow.conf:\n");
        for step in files {
            let _ = writeln!(out, "#   w {} - - - - {}", step.path, step.value);
        }
    }
}
