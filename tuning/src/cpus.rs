//! Lists and masks of CPUs as the kernel writes them.

/// Highest CPU number that is believed.
const CPU_MAX: usize = 1 << 16;

/// `0-3,8` as numbers, rising; an empty text is an empty list.
pub(crate) fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus: Vec<usize> = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last): (usize, usize) = match part.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => (part.trim().parse().ok()?, part.trim().parse().ok()?),
        };
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// A hexadecimal mask in words of 32 bits, the highest first: `00000001,0000000f`.
pub(crate) fn parse_mask(text: &str) -> Option<Vec<usize>> {
    let mut cpus: Vec<usize> = Vec::new();
    for (word, digits) in text.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(digits.trim(), 16).ok()?;
        cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 32 + bit));
    }
    Some(cpus)
}

/// Numbers as a mask that the kernel takes.
pub(crate) fn mask(cpus: &[usize]) -> String {
    let words = cpus.iter().max().map_or(1, |most| most / 32 + 1);
    let mut mask = vec![0_u32; words];
    for cpu in cpus {
        mask[cpu / 32] |= 1 << (cpu % 32);
    }
    let words: Vec<String> = mask.iter().rev().map(|word| format!("{word:x}")).collect();
    let padded =
        words.iter().enumerate().map(|(at, word)| if at == 0 { word.clone() } else { format!("{word:0>8}") });
    padded.collect::<Vec<_>>().join(",")
}

/// Numbers as `0-3,8`; `none` for none.
pub(crate) fn show(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    if runs.is_empty() {
        return "none".to_owned();
    }
    let text = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_read_and_written_alike() {
        assert_eq!(parse_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse_list(""), Some(vec![]));
        for bad in ["a", "3-1", "0-99999999", "1-"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
        assert_eq!(parse_mask("1,0000000f"), Some(vec![0, 1, 2, 3, 32]));
        assert_eq!(parse_mask("xyz"), None);
        for cpus in [vec![0], vec![1, 5, 33], vec![63]] {
            assert_eq!(parse_mask(&mask(&cpus)), Some(cpus.clone()));
            assert_eq!(parse_list(&show(&cpus)), Some(cpus));
        }
        assert_eq!(
            (mask(&[0, 32]), show(&[]), show(&[0, 1, 2, 5])),
            ("1,00000001".into(), "none".into(), "0-2,5".into())
        );
    }
}
