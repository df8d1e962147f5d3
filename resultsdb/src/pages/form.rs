//! The form above a page: some of the API's parameters to fill in, and the others that were given kept as they are.

use crate::api::Parameters;

pub struct Form {
    pub action: String,
    pub fields: Vec<Field>,
    /// Empty where the page does not ask for outcomes.
    pub outcomes: Vec<Choice>,
    /// Parameters that the form does not show.
    pub kept: Vec<(String, String)>,
}

pub struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub value: String,
}

pub struct Choice {
    pub name: String,
    pub chosen: bool,
}

impl Form {
    /// `fields` are names of parameters and what they are called.
    pub fn new(action: impl Into<String>, parameters: &Parameters, fields: &[(&'static str, &'static str)]) -> Form {
        let shown = |name: &str| name == "page" || fields.iter().any(|(field, _)| *field == name);
        Form {
            action: action.into(),
            fields: (fields.iter())
                .map(|&(name, label)| {
                    let value = parameters.first(name).unwrap_or_default().to_owned();
                    Field { name, label, value }
                })
                .collect(),
            outcomes: Vec::new(),
            kept: parameters.pairs().iter().filter(|(name, _)| !shown(name)).cloned().collect(),
        }
    }

    /// With a choice of outcomes.
    pub fn outcomes(mut self, parameters: &Parameters, outcomes: &[String]) -> Form {
        let asked = parameters.first("outcome").unwrap_or_default().to_uppercase();
        let mut names = outcomes.to_vec();
        // Several at once can be asked for by hand.
        if !asked.is_empty() && !names.contains(&asked) {
            names.push(asked.clone());
        }
        self.outcomes = names.into_iter().map(|name| Choice { chosen: name == asked, name }).collect();
        self.kept.retain(|(name, _)| name != "outcome");
        self
    }
}
