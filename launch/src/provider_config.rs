//! `--provider-option KEY=VALUE`: one setting of the chosen provider, into the table that a file would have.

use anyhow::{Context, anyhow};
use toml::{Table, Value};

/// Most options on one command line.
const OPTIONS_MAX: usize = 64;

/// Puts `options` into the table of the provider that `config` names. `VALUE` is TOML; text needs no quotes.
///
/// # Errors
/// Not `KEY=VALUE`, or a provider without settings.
pub(crate) fn set(config: &mut Table, options: &[String]) -> anyhow::Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    if options.len() > OPTIONS_MAX {
        return Err(anyhow!("{} --provider-option, at most {OPTIONS_MAX}; use --provider-config", options.len()));
    }
    let provider = config.get("provider").and_then(Value::as_str).unwrap_or("cpu");
    let name = provider.split(':').next().unwrap_or_default().to_owned();
    if !["cuda", "tensorrt", "openvino"].contains(&name.as_str()) {
        return Err(anyhow!(
            "--provider-option {}: provider {provider:?} has no settings; choose --provider cuda:N, tensorrt:N or openvino",
            options[0]
        ));
    }
    let table = config.entry(&name).or_insert_with(|| Value::Table(Table::new()));
    let table = table.as_table_mut().with_context(|| format!("[{name}] is not a table"))?;
    for option in options {
        let (key, text) =
            option.split_once('=').with_context(|| format!("--provider-option {option:?}: expected KEY=VALUE"))?;
        table.insert(key.trim().to_owned(), value(text.trim()));
    }
    Ok(())
}

fn value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table(toml: &str, options: &[&str]) -> anyhow::Result<Table> {
        let mut table = toml.parse::<Table>().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        set(&mut table, &options)?;
        Ok(table)
    }

    #[test]
    fn options_go_into_the_table_of_the_chosen_provider_and_win() {
        let options = ["tf32=true", "memory_limit_mib = 512", "arena=same_as_requested"];
        let found = table("provider = \"cuda:1\"\n[cuda]\ntf32 = false\n[tensorrt]\nfp16 = true", &options).unwrap();
        let expected = "provider = \"cuda:1\"\n[cuda]\ntf32 = true\nmemory_limit_mib = 512\narena = \"same_as_requested\"\n\
                        [tensorrt]\nfp16 = true";
        assert_eq!(found, expected.parse::<Table>().unwrap());
        let found = table("provider = \"openvino\"", &["cache_dir=/var/cache/egogrid"]).unwrap();
        assert_eq!(found["openvino"]["cache_dir"].as_str(), Some("/var/cache/egogrid"));
    }

    #[test]
    fn what_is_no_option_is_refused_with_what_to_do() {
        for (toml, option, names) in [
            ("provider = \"cuda\"", "tf32", "KEY=VALUE"),
            ("provider = \"cpu\"", "tf32=true", "--provider cuda"),
            ("", "tf32=true", "--provider cuda"),
        ] {
            let error = table(toml, &[option]).unwrap_err().to_string();
            assert!(error.contains(names), "{option}: {error}");
        }
        let many = vec!["tf32=true"; OPTIONS_MAX + 1];
        assert!(table("provider = \"cuda\"", &many).is_err());
    }
}
