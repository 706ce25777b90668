//! Text with named places, kept as files so that it reads as what it becomes.

/// Fills the places `{{name}}` of a text. A place that has a line for itself takes lines, indented as it is, or none.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for line in template.lines() {
        let text = line.trim_start();
        let is_place = |(name, _): &&(&str, &str)| text == format!("{{{{{name}}}}}");
        match values.iter().find(is_place) {
            Some((_, block)) => {
                let indent = " ".repeat(line.len() - text.len());
                for line in block.lines() {
                    filled.push_str(&format!("{indent}{line}\n"));
                }
            }
            None => {
                let line = values.iter().fold(line.to_owned(), |line, (name, value)| {
                    line.replace(&format!("{{{{{name}}}}}"), value)
                });
                filled.push_str(&line);
                filled.push('\n');
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_take_text_lines_or_nothing() {
        let template = "a: {{x}} {{x}}\n  {{block}}\n  {{none}}\nb: {{unknown}}\n";
        let filled = fill(template, &[("x", "1"), ("block", "- c\n  d\n"), ("none", "")]);
        assert_eq!(filled, "a: 1 1\n  - c\n    d\nb: {{unknown}}\n");
    }
}
