//! Compiles what the program carries: the gRPC contract and the published action tables.
//!
//! A faulty table fails the build with the file and line of each fault. Nothing else than Rust is needed:
//! protox compiles the protos.
#![expect(clippy::print_stderr, reason = "Cargo shows what a failed build script wrote")]
#![expect(unreachable_pub, reason = "modules of the library serve here too")]

use std::error::Error;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/catalog/compile.rs"]
mod compile;
#[path = "src/catalog/object.rs"]
mod object;
#[path = "src/catalog/row.rs"]
mod row;
#[path = "src/catalog/table.rs"]
mod table;
#[path = "src/catalog/template.rs"]
mod template;

use compile::Source;
use row::{List, MemberSource, Row, Text, ValueSource};

const TABLES: &str = "src/catalog/tables";
const PROTOS: [&str; 3] = [
    "proto/ecs/authz/v1/authorization.proto",
    "proto/ecs/authz/v1/policy_admin.proto",
    "proto/envoy/service/auth/v3/external_auth.proto",
];
/// The calls that decide: they are read and answered in place, so tonic serves the others alone.
const IN_PLACE: [&str; 4] = ["Authorize", "BatchAuthorize", "StreamAuthorize", "Check"];
/// What is spoken to a collector of telemetry, and served to nobody.
const OTLP_PROTOS: [&str; 2] = [
    "proto/opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "proto/opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    compile_tables(&out.join("tables.rs"))?;
    compile_proto(&out)?;
    let otlp = protox::compile(OTLP_PROTOS, ["proto"])?;
    tonic_prost_build::configure().build_server(false).include_file("otlp.rs").compile_fds(otlp)?;
    Ok(())
}

fn compile_proto(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // With comments: `grpcurl describe` shows them.
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;
    fs::write(out.join("ecs_authz.bin"), compiler.encode_file_descriptor_set())?;
    let mut files = compiler.file_descriptor_set();
    let messages = tonic_prost_build::configure().build_server(false).include_file("protos.rs");
    messages.compile_fds(files.clone())?;
    for file in &mut files.file {
        file.service.iter_mut().for_each(|it| it.method.retain(|method| !IN_PLACE.contains(&method.name())));
        file.service.retain(|service| !service.method.is_empty());
    }
    let servers = out.join("servers");
    fs::create_dir_all(&servers)?;
    let servers = tonic_prost_build::configure().build_client(false).out_dir(servers);
    let servers = servers.extern_path(".ecs.authz.v1", "crate::grpc::pb");
    let servers = servers.extern_path(".envoy", "crate::grpc::wire::envoy");
    servers.extern_path(".google.rpc", "crate::grpc::wire::google::rpc").compile_fds(files)?;
    Ok(())
}

fn compile_tables(generated: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={TABLES}");
    println!("cargo::rerun-if-changed=src/catalog");
    let mut files: Vec<PathBuf> =
        fs::read_dir(TABLES)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.sort();
    let sources = files
        .iter()
        .map(|path| Ok(Source { file: path.display().to_string(), text: fs::read_to_string(path)? }))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    let rows = compile::compile(&[], &sources).map_err(|errors| {
        errors.iter().for_each(|error| eprintln!("{error}"));
        format!("{} faults in {TABLES}", errors.len())
    })?;
    fs::write(generated, emit(&rows)?)?;
    Ok(())
}

/// The rows as a constant expression of type `&[Row]`.
fn emit(rows: &[Row]) -> Result<String, fmt::Error> {
    let mut code = String::from("&[\n");
    for row in rows {
        emit_row(&mut code, row)?;
    }
    code.push(']');
    Ok(code)
}

fn emit_row(code: &mut String, row: &Row) -> fmt::Result {
    let Row { origin, table, title, routes, body_key, actions, aliases, dependencies, .. } = row;
    writeln!(code, "Row {{ origin: Origin {{ file: {}, line: {} }},", text(&origin.file), origin.line)?;
    writeln!(code, "table: {}, title: {},", text(table), text(title))?;
    let routes = list(routes, |route| {
        format!("Route {{ method: {}, template: {} }}", text(&route.method), text(&route.template))
    });
    writeln!(code, "routes: {routes},")?;
    match body_key {
        Some(key) => writeln!(code, "body_key: Some({}),", text(key))?,
        None => writeln!(code, "body_key: None,")?,
    }
    writeln!(code, "actions: {},", list(actions, text))?;
    let aliases = list(aliases, |alias| {
        format!("Alias {{ action: {}, older: {} }}", text(&alias.action), text(&alias.older))
    });
    writeln!(code, "aliases: {aliases},")?;
    writeln!(code, "dependencies: {},", list(dependencies, text))?;
    let by_body = list(&row.body_dependencies, |entry| {
        let (member, names) = (text(&entry.member), list(&entry.dependencies, text));
        format!("BodyDependency {{ member: {member}, dependencies: {names} }}")
    });
    writeln!(code, "body_dependencies: {by_body},")?;
    let resource = row.resource.as_ref().map(|resource| {
        format!("RowResource {{ kind: {}, ids: {} }}", text(&resource.kind), source(resource.ids.as_ref()))
    });
    let resource = resource.map_or("None".to_owned(), |resource| format!("Some({resource})"));
    let keys = list(&row.keys, |key| {
        format!("RowKey {{ name: {}, values: {} }}", text(&key.name), source(key.values.as_ref()))
    });
    let project =
        row.enterprise_project.as_ref().map_or("None".to_owned(), |it| format!("Some({})", text(it)));
    writeln!(code, "resource: {resource}, enterprise_project: {project}, keys: {keys} }},")
}

fn source(source: Option<&ValueSource>) -> String {
    match source {
        None => "None".to_owned(),
        Some(ValueSource::Placeholder(name)) => format!("Some(ValueSource::Placeholder({}))", text(name)),
        Some(ValueSource::Member(MemberSource { path, unless, absence, form })) => {
            let (path, unless) = (text(path), list(unless, text));
            let rest = format!("absence: Absence::{absence:?}, form: Form::{form:?}");
            format!("Some(ValueSource::Member(MemberSource {{ path: {path}, unless: {unless}, {rest} }}))")
        }
    }
}

fn text(text: &Text) -> String {
    format!("Cow::Borrowed({text:?})")
}

fn list<T: Clone>(items: &List<T>, item: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(item).collect();
    format!("Cow::Borrowed(&[{}])", items.join(", "))
}
