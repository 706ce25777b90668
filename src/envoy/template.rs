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
                filled.push_str(&fill_line(line, values));
                filled.push('\n');
            }
        }
    }
    filled
}

/// From left to right, so that what is filled in is not read as a place.
fn fill_line(line: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let place = after.split_once("}}");
        let value = place.and_then(|(name, _)| values.iter().find(|(other, _)| *other == name));
        match (place, value) {
            (Some((_, after)), Some((_, value))) => {
                filled.push_str(value);
                rest = after;
            }
            _ => {
                filled.push_str("{{");
                rest = after;
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_take_text_lines_or_nothing() {
        let template = "a: {{x}} {{x}}\n  {{block}}\n  {{none}}\nb: {{unknown}}\n";
        let filled = fill(template, &[("x", "1"), ("block", "- c\n  d\n"), ("none", "")]);
        assert_eq!(filled, "a: 1 1\n  - c\n    d\nb: {{unknown}}\n");
        let filled = fill("{{x}} {{y}} {{{x}}} {{", &[("x", "{{y}}"), ("y", "{{x}}")]);
        assert_eq!(filled, "{{y}} {{x}} {{{x}}} {{\n");
    }
}
