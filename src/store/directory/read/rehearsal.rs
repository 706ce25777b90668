//! What is to be written is read before it is: in memory, by the rules of whoever reads it later.

use std::path::{Path, PathBuf};

use super::domain::DomainFiles;
use super::{Hands, Keep, Reader, Reading};
use crate::catalog::Catalog;
use crate::policy::{DocumentError, system};
use crate::store::content::DomainContent;
use crate::store::directory::fault::{Fault, Place};
use crate::store::directory::files::{self, Kind, Role};
use crate::store::directory::render::grants_file;
use crate::store::name::policy_name_fault;

impl Reading {
    /// The faults that a directory would have with these domains in it.
    ///
    /// # Errors
    ///
    /// If the built-in policies do not compile, which a test rules out.
    pub(in crate::store::directory) fn rehearse<'c>(
        domains: impl Iterator<Item = (&'c str, &'c DomainContent)>,
        catalog: &Catalog,
    ) -> Result<Vec<Fault>, Vec<DocumentError>> {
        let system = system::compile(catalog)?;
        let (root, keep, hands) = (Path::new(""), Keep::Compiled, Hands::One);
        let mut reader = Reader { root, catalog, system: &system, keep, hands, reading: Self::default() };
        for (domain_id, content) in domains {
            reader.rehearse(domain_id, content);
        }
        let mut faults = reader.reading.faults;
        for fault in &mut faults {
            // Of a file that nobody can open.
            fault.place.take_if(|place| matches!(place, Place::Line(_)));
        }
        Ok(faults)
    }
}

impl Reader<'_> {
    fn rehearse(&mut self, domain_id: &str, content: &DomainContent) {
        if let Some(expected) = folder_fault(domain_id) {
            return self.reading.faults.push(Fault::of(domain_id, expected));
        }
        let mut files = DomainFiles::default();
        let grants = Role::Grants { domain_id: domain_id.to_owned() };
        self.rehearse_file(&mut files, format!("{domain_id}/grants.toml"), grants, grants_file(content));
        for (name, text) in &content.policies {
            let path = format!("{domain_id}/policies/{name}.json");
            self.reading.faults.extend(policy_name_fault(name).map(|expected| Fault::of(&path, expected)));
            let role = Role::Policy { domain_id: domain_id.to_owned(), name: name.clone() };
            self.rehearse_file(&mut files, path, role, text.clone());
        }
        self.domains([(domain_id.to_owned(), files)].into());
    }

    fn rehearse_file(&mut self, files: &mut DomainFiles, path: String, role: Role, text: String) {
        let path = PathBuf::from(path);
        self.reading.faults.extend(files::size_fault(&path, &role, text.len()));
        files.take(path, role, text);
    }
}

fn folder_fault(domain_id: &str) -> Option<&'static str> {
    if domain_id.contains('/') || files::is_passed_over(domain_id) {
        Some("expected a domain id that can be the name of a folder, which is not hidden and no backup")
    } else {
        files::role(Path::new(domain_id), Kind::Folder).err()
    }
}
