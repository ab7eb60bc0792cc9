//! Commands that are printed for people to paste into a shell: words in them come from elsewhere.

/// As a POSIX shell takes it for one word, whatever is in it.
#[must_use]
pub fn quoted(word: &str) -> String {
    // No shell makes anything else of these.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/.:_-@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// `verb operands options`: operands are quoted, and none is taken for an option.
#[must_use]
pub fn line(verb: &str, operands: &[&str], options: &str) -> String {
    let is_option = operands.iter().any(|word| word.starts_with('-'));
    let operands = operands.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let parts = if is_option { [verb, options, "--", &operands] } else { [verb, &operands, options, ""] };
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What this program was started as, so that it is found again.
#[must_use]
pub fn program() -> String {
    std::env::args_os().next().map_or_else(|| "frontrow".to_owned(), |name| quoted(&name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_takes_every_word_as_it_is() {
        for word in [
            "A",
            "",
            "Block A",
            "A$(echo x)",
            "`id`",
            "it's",
            "a\"b",
            "*",
            "~",
            "!!",
            "a;b",
            "a\nb",
            "\\",
            "ä",
        ] {
            let script = format!("printf '%s|' {}", quoted(word));
            let said = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
            assert_eq!(String::from_utf8(said.stdout).expect("text"), format!("{word}|"));
        }
        assert_eq!([quoted("http://h:1"), quoted("/srv/data")], ["http://h:1", "/srv/data"]);
    }

    #[test]
    fn no_operand_is_an_option() {
        assert_eq!(line("claim", &["1", "Block A"], "--best 2"), "claim 1 'Block A' --best 2");
        assert_eq!(line("claim", &["1", "--server"], "--best 2"), "claim --best 2 -- 1 --server");
        assert_eq!(line("seats", &["1", "A"], ""), "seats 1 A");
    }
}
