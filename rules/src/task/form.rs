//! Tasks that were written for others: Fedora's Standard Test Interface, and tmt. They are a task's `run` in another
//! form, and become an argument list like any other.

use model::lease::ResultFormat;

use super::read::of_a_job;
use crate::fault::Problems;
use crate::section::{self, Section};
use crate::template::Template;
use crate::yaml::{Node, Tree};

/// A playbook of the Standard Test Interface: it finds its subjects in TEST_SUBJECTS, and leaves test.log and
/// results.yml in the folder `artifacts`. It fails with 2 where a test failed; all else that is not 0 is not the item's
/// fault. Subjects are handed on in the environment only: as a variable, Ansible would take them for a template.
const STANDARD_TEST: &str = r#"set -u
export TEST_SUBJECTS="$2" TEST_ARTIFACTS="$TASKOTRON_ARTIFACTS" ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=0
export ANSIBLE_REMOTE_TEMP="$TMPDIR"
unjudged() {
    [ -e "$TASKOTRON_RESULTS" ] || printf 'results:\n- outcome: ERROR\n  note: %s\n' "$1" > "$TASKOTRON_RESULTS"
}
if ! command -v ansible-playbook > /dev/null; then
    unjudged "ansible-playbook is not installed on this worker"
    exit 127
fi
python=$(python3 -c 'import sys; print(sys.executable)')
ansible-playbook --inventory localhost, --connection local --tags classic \
    --extra-vars "{\"artifacts\": \"$TASKOTRON_ARTIFACTS\", \"ansible_python_interpreter\": \"$python\"}" "$1"
code=$?
if [ -f "$TASKOTRON_ARTIFACTS/results.yml" ] && [ ! -L "$TASKOTRON_ARTIFACTS/results.yml" ]; then
    cp "$TASKOTRON_ARTIFACTS/results.yml" "$TASKOTRON_RESULTS"
fi
case $code in
    0 | 2) ;;
    *) unjudged "ansible-playbook ended with $code" ;;
esac
exit $code
"#;

/// Plans of tmt, whose work must not lie in the tree that it reads.
const TMT: &str = r#"set -eu
if ! command -v tmt > /dev/null; then
    printf 'results:\n- {outcome: ERROR, note: tmt is not installed on this worker}\n' > "$TASKOTRON_RESULTS"
    exit 127
fi
mkdir tree
for entry in * .[!.]*; do
    case $entry in
        tree | tmp | artifacts | event.json) ;;
        *) [ ! -e "$entry" ] || mv "$entry" tree/ ;;
    esac
done
exec tmt --feeling-safe --root tree run --id "$PWD/run" --all plan --name "$1" provision --how local
"#;

/// The argument list of a task whose `run` is a mapping, and where such a task leaves its results.
pub(super) fn read(node: &Node, problems: &mut Problems) -> (Vec<Template>, Vec<ResultFormat>) {
    let nothing = (Vec::new(), Vec::new());
    let Some(section) = Section::open(node, "run", &["standard_test", "tmt"], problems) else { return nothing };
    match (section.get("standard_test"), section.get("tmt")) {
        (Some(playbook), None) => {
            let subjects = "{{ params.subjects | default(item) }}";
            let results = vec![ResultFormat::ResultYaml, ResultFormat::ExitCode];
            (script(STANDARD_TEST, "standard-test", playbook, &[subjects], problems), results)
        }
        (None, Some(plans)) => {
            // Where there is no file nothing was judged, whatever the exit code.
            let files = vec!["run/**/execute/results.yaml".to_owned()];
            (script(TMT, "tmt", plans, &[], problems), vec![ResultFormat::ResultYaml, ResultFormat::Tmt(files)])
        }
        (Some(_), Some(_)) | (None, None) => {
            problems.add(node.place, "run is a list of arguments, { standard_test: PLAYBOOK } or { tmt: PLANS }");
            nothing
        }
    }
}

fn script(text: &str, name: &str, what: &Node, more: &[&str], problems: &mut Problems) -> Vec<Template> {
    if section::text(what, name, problems).is_none() {
        return Vec::new();
    }
    let constant = |text: &str| Node { place: what.place, tree: Tree::Text(text.to_owned()) };
    let mut arguments: Vec<Node> = ["sh", "-c", text, name].map(constant).to_vec();
    arguments.push(what.clone());
    arguments.extend(more.iter().map(|text| constant(text)));
    arguments.iter().filter_map(|node| of_a_job(node, "an argument of run", problems)).collect()
}
