//! What holds, for people to read: as a file that says who set each option.

use std::fmt::Write as _;

use super::Loaded;

impl Loaded {
    /// All options as a configuration file, with the defaults. Beside each that is no default stands who set it. Secrets are
    /// not shown, so a database's address is one without credentials.
    ///
    /// # Errors
    ///
    /// If a path is not UTF-8.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        let mut shown = String::new();
        let mut section = String::new();
        for line in toml::to_string(&self.config)?.lines() {
            if let Some(header) = line.strip_prefix('[') {
                header.trim_matches(['[', ']']).clone_into(&mut section);
            }
            let option = line.split_once(" = ").map(|(name, _)| match section.as_str() {
                "" => name.to_owned(),
                section => format!("{section}.{name}"),
            });
            let origin = option.and_then(|option| self.origin(&option));
            match origin {
                Some(origin) => _ = writeln!(shown, "{line} # {origin}"),
                None => _ = writeln!(shown, "{line}"),
            }
        }
        Ok(shown)
    }

    /// Who set an option, or the list of tables or the map that it belongs to.
    fn origin(&self, option: &str) -> Option<String> {
        let holders = option.match_indices('.').map(|(end, _)| option.get(..end).unwrap_or_default());
        let names = holders.chain([option]);
        { names }.find_map(|name| self.origins.get(name)).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Layers};

    #[test]
    fn what_holds_is_a_file_that_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let text = "region = 'eu'\n[admin]\naddr = '127.0.0.1:1'\n[[admin.token]]\nname = 'ci'\nfile = 't'";
        std::fs::write(&file, text).unwrap();
        let variables = vec![("ECS_AUTHZ_CACHE_MIB".to_owned(), "5".to_owned())];
        let loaded = Layers { file: Some(file), variables, ..Layers::default() }.load().unwrap();
        let shown = loaded.effective().unwrap();
        assert_eq!(toml::from_str::<Config>(&shown).unwrap(), loaded.config, "{shown}");
        for line in [
            "region = \"eu\" # the configuration file",
            "mib = 5 # ECS_AUTHZ_CACHE_MIB",
            "max_stale_seconds = 60",
            "name = \"ci\" # the configuration file",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
    }
}
