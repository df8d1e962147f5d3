//! A formula of libtaskotron (`runtask.yml`): it is not run, but told as the task to write instead.

use serde_json::Value;

/// The lines of a configuration that stand for a formula, or why the text is none. What has no counterpart stands there
/// as a comment.
pub fn translate(text: &str, folder: &str) -> Result<String, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let formula: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| format!("not YAML: {}", e.without_snippet()))?;
    let Some(actions) = formula.get("actions").and_then(Value::as_array) else {
        return Err("it has no list of actions, so it is no formula".into());
    };
    let name = formula.get("name").and_then(Value::as_str).unwrap_or("task").replace(char::is_whitespace, "-");
    let mut lines = vec!["tasks:".to_owned(), format!("  {}:", quoted(&name))];
    lines.extend(comment("    ", formula.get("desc").and_then(Value::as_str).unwrap_or_default()));
    if let Some(packages) = formula.pointer("/environment/rpm").and_then(Value::as_array) {
        let packages: Vec<_> = packages.iter().filter_map(Value::as_str).collect();
        lines.extend(comment("    ", &format!("its workers must have: {}", packages.join(" "))));
    }
    lines.push(format!("    source: {{ path: {} }}", quoted(folder)));
    lines.push("    run:".into());
    lines.extend(["      - sh", "      - -c", "      - |", "        set -e"].map(String::from));
    for action in actions.iter().filter_map(Value::as_object) {
        for (directive, given) in
            action.iter().filter(|(key, _)| !["name", "register", "export"].contains(&key.as_str()))
        {
            lines.extend(step(directive, given).iter().map(|line| format!("        {line}")));
        }
    }
    lines.push(format!("      - {}", quoted(&name)));
    lines.extend(["      - \"{{ item }}\"", "      - \"{{ arch }}\""].map(String::from));
    lines.push("    results: [results.yml, exit_code]".into());
    lines.push(format!("    testcase: {}", quoted(&format!("dist.{name}"))));
    Ok(lines.join("\n") + "\n")
}

/// What one directive becomes in a shell: $1 is the item, $2 the arch.
fn step(directive: &str, given: &Value) -> Vec<String> {
    match directive {
        "shell" => match given {
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).flat_map(shell).collect(),
            other => other.as_str().map(shell).unwrap_or_default(),
        },
        "python" => {
            let file = given.get("file").and_then(Value::as_str).unwrap_or("check.py");
            let function = given.get("callable").or_else(|| given.get("class")).and_then(Value::as_str);
            let mut lines = vec![format!("python3 {} \"$1\" \"$2\"", variables(file))];
            lines.extend(function.map(|name| {
                format!("# let it call {name}() itself, and write what that returned to \"$TASKOTRON_RESULTS\"")
            }));
            lines
        }
        "koji" => match given.get("action").and_then(Value::as_str) {
            Some("download" | "download_tag") | None => {
                vec!["koji download-build --arch=\"$2\" --arch=noarch \"$1\"".into()]
            }
            Some(other) => vec![format!("# koji: {other} has no counterpart")],
        },
        "bodhi" => vec!["bodhi updates download --updateid \"$1\"".into()],
        "mash" => vec!["createrepo_c .".into()],
        "resultsdb" | "create_report" | "check_report" | "exitcode" | "xunit" => {
            vec![format!("# {directive}: not needed, \"$TASKOTRON_RESULTS\" or the exit code is read")]
        }
        other => vec![variables(&format!("# {other}: {given} has no counterpart"))],
    }
}

fn shell(text: &str) -> Vec<String> {
    text.lines().map(variables).collect()
}

/// A formula's variables, as the job's process knows them.
fn variables(text: &str) -> String {
    let mut text = text.to_owned();
    for (theirs, ours) in [
        ("${koji_build}", "$1"),
        ("${koji_tag}", "$1"),
        ("${bodhi_id}", "$1"),
        ("${compose}", "$1"),
        ("${item}", "$1"),
        ("${arch}", "$2"),
        ("${workdir}", "$PWD"),
        ("${artifactsdir}", "$TASKOTRON_ARTIFACTS"),
        ("${checkname}", "$TASKOTRON_TASK"),
    ] {
        text = text.replace(theirs, ours);
    }
    // In a task's argument two braces begin a template.
    text.replace("{{", "{{ '{{' }}").replace("{%", "{{ '{%' }}").replace("{#", "{{ '{#' }}")
}

fn comment(indent: &str, text: &str) -> Vec<String> {
    text.lines().map(|line| format!("{indent}# {line}").trim_end().to_owned()).collect()
}

/// A text as YAML has it, in JSON's form where it is not plain.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(plain);
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Configuration;

    const RPMLINT: &str = r#"
name: rpmlint
desc: run rpmlint on a build
maintainer: somebody
input: { args: [koji_build, arch] }
environment: { rpm: [rpmlint, koji] }
actions:
  - name: download rpms from koji
    koji: { action: download, koji_build: "${koji_build}", arch: "${arch}", target_dir: "${workdir}" }
  - name: run rpmlint
    shell:
      - rpmlint ${workdir}/*.rpm > ${artifactsdir}/rpmlint.log
  - name: look at it
    python: { file: run_rpmlint.py, callable: run, workdir: "${workdir}" }
    export: output
  - name: report
    resultsdb: { results: "${output}" }
  - name: publish
    yumrepoinfo: { arch: "${arch}" }
"#;

    #[test]
    fn a_formula_is_told_as_a_task_that_can_be_read() {
        let lines = translate(RPMLINT, "/srv/task rpmlint").unwrap();
        insta::assert_snapshot!(lines, @r##"
        tasks:
          rpmlint:
            # run rpmlint on a build
            # its workers must have: rpmlint koji
            source: { path: "/srv/task rpmlint" }
            run:
              - sh
              - -c
              - |
                set -e
                koji download-build --arch="$2" --arch=noarch "$1"
                rpmlint $PWD/*.rpm > $TASKOTRON_ARTIFACTS/rpmlint.log
                python3 run_rpmlint.py "$1" "$2"
                # let it call run() itself, and write what that returned to "$TASKOTRON_RESULTS"
                # resultsdb: not needed, "$TASKOTRON_RESULTS" or the exit code is read
                # yumrepoinfo: {"arch":"$2"} has no counterpart
              - rpmlint
              - "{{ item }}"
              - "{{ arch }}"
            results: [results.yml, exit_code]
            testcase: dist.rpmlint
        "##);
        Configuration::parse(&[("t.yml".into(), lines)]).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(translate("tasks: {}", "/x").unwrap_err().contains("no formula"));
    }
}
