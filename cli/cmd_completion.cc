// SPDX-License-Identifier: Apache-2.0
//
// nodetrail completion: scripts for the shells, made from the program's own
// commands and options, so that they can't fall behind.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <set>

#include "cli/context.h"
#include "nodetrail/schema/fields.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::cli {
namespace {

struct Command {
  std::string name;
  std::string help;
  std::vector<std::pair<std::string, std::string>> options;  // "--since", help
};

std::vector<std::pair<std::string, std::string>> OptionsOf(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) out.emplace_back("--" + name, option->get_description());
  }
  return out;
}

std::vector<Command> CommandsOf(const CLI::App& app) {
  std::vector<Command> out;
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    out.push_back({sub->get_name(), sub->get_description(), OptionsOf(*sub)});
  }
  return out;
}

std::string Words(const std::vector<std::pair<std::string, std::string>>& options) {
  std::string out;
  for (const auto& [name, help] : options) out += (out.empty() ? "" : " ") + name;
  return out;
}

std::string Kinds() {
  std::string out;
  for (const auto kind : schema::AllKinds())
    out += fmt::format("{}{}", out.empty() ? "" : " ", schema::KindLabel(kind));
  return out;
}

std::string FieldWords() {
  std::string out;
  for (const auto& field : schema::Fields()) out += fmt::format("{}{}:", out.empty() ? "" : " ", field.name);
  return out;
}

std::string Bash(const CLI::App& app) {
  std::string names;
  std::string cases;
  for (const auto& command : CommandsOf(app)) {
    names += (names.empty() ? "" : " ") + command.name;
    cases += fmt::format("    {}) words=\"{}{}\" ;;\n", command.name, Words(command.options),
                         command.name == "completion"                        ? " bash zsh fish"
                         : command.name == "query" || command.name == "tail" ? " $fields"
                                                                             : "");
  }
  return fmt::format(R"(# bash completion for nodetrail; source it, or put it into
# /usr/share/bash-completion/completions/nodetrail
_nodetrail() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= word words
  local fields="{fields}"
  COMPREPLY=()
  case $prev in
    --config|--ca|--cert|--key|--identity-ca|--log-key|--prior|--policy|--receipt|--trail|--out) compopt -o default; return ;;
    --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
    --kind) COMPREPLY=($(compgen -W "{kinds}" -- "$cur")); return ;;
  esac
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case " {names} " in *" $word "*) command=$word; break ;; esac
  done
  case $command in
    "") words="{names} {globals}" ;;
{cases}  esac
  [[ $cur == -* ]] && words="$words {globals}"
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *: ]] && compopt -o nospace
  [[ $command == verify && $cur != -* ]] && compopt -o default
}}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//:/}}
complete -F _nodetrail nodetrail
)",
                     fmt::arg("fields", FieldWords()), fmt::arg("kinds", Kinds()), fmt::arg("names", names),
                     fmt::arg("globals", Words(OptionsOf(app))), fmt::arg("cases", cases));
}

// For zsh's _describe and _arguments: no quotes, brackets or colons in a description.
std::string Plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != '\'' && c != '"' && c != ':' && c != '[' && c != ']' && c != '`' && c != '\\') out.push_back(c);
  }
  return out;
}

std::string Zsh(const CLI::App& app) {
  std::string commands;
  std::string cases;
  for (const auto& command : CommandsOf(app)) {
    commands += fmt::format("    '{}:{}'\n", command.name, Plain(command.help));
    cases += fmt::format("    {}) _arguments", command.name);
    for (const auto& [name, help] : command.options) {
      if (name == "--kind") cases += fmt::format(" '*{}[{}]:kind:({})'", name, Plain(help), Kinds());
      else cases += fmt::format(" '{}[{}]'", name, Plain(help));
    }
    if (command.name == "verify") cases += " '*:trail:_files -/'";
    if (command.name == "completion") cases += " '1:shell:(bash zsh fish)'";
    cases += " ;;\n";
  }
  std::string globals;
  for (const auto& [name, help] : OptionsOf(app)) globals += fmt::format(" '{}[{}]'", name, Plain(help));
  return fmt::format(R"(#compdef nodetrail
# zsh completion for nodetrail; put it as _nodetrail into a folder of $fpath
_nodetrail() {{
  local -a commands=(
{}  )
  local state
  _arguments -C{} '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands; return ;;
  esac
  case $words[1] in
{}  esac
}}
_nodetrail "$@"
)",
                     commands, globals, cases);
}

std::string Fish(const CLI::App& app) {
  std::string out =
      "# fish completion for nodetrail; put it into ~/.config/fish/completions/nodetrail.fish\ncomplete -c nodetrail "
      "-f\n";
  for (const auto& [name, help] : OptionsOf(app))
    out += fmt::format("complete -c nodetrail -l {} -d '{}'\n", name.substr(2), Plain(help));
  for (const auto& command : CommandsOf(app)) {
    out += fmt::format("complete -c nodetrail -n __fish_use_subcommand -a {} -d '{}'\n", command.name,
                       Plain(command.help));
    const std::string when = fmt::format("'__fish_seen_subcommand_from {}'", command.name);
    for (const auto& [name, help] : command.options) {
      out += fmt::format("complete -c nodetrail -n {} -l {} -d '{}'{}\n", when, name.substr(2), Plain(help),
                         name == "--kind" ? fmt::format(" -x -a '{}'", Kinds()) : std::string());
    }
    if (command.name == "verify") out += fmt::format("complete -c nodetrail -n {} -F\n", when);
    if (command.name == "completion") out += fmt::format("complete -c nodetrail -n {} -a 'bash zsh fish'\n", when);
  }
  return out;
}

}  // namespace

void AddCompletion(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("completion", "completion script for a shell");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(R"(Examples:
  source <(nodetrail completion bash)
  nodetrail completion zsh > "${fpath[1]}/_nodetrail"
  nodetrail completion fish > ~/.config/fish/completions/nodetrail.fish)");
  const CLI::App* whole = &app;
  command->callback([set, shell, whole] {
    set([shell, whole](Context&) {
      Print(*shell == "bash" ? Bash(*whole) : *shell == "zsh" ? Zsh(*whole) : Fish(*whole));
      return 0;
    });
  });
}

}  // namespace nodetrail::cli
