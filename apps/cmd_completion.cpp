#include <fmt/format.h>

#include "apps/app.h"
#include "base/print.h"

namespace emberq {
namespace {

// What completion needs of one command: a case of each of the script's three lists.
struct Cases {
  std::string commands, values, words;
};

void add_cases(const CommandTree& command, const std::string& path,
               const CommandTree::Argument& threads, Cases& cases) {
  std::string words;
  std::vector<CommandTree::Argument> arguments = command.arguments;
  arguments.push_back(threads);
  for (const CommandTree::Argument& argument : arguments)
    for (const std::string& name : argument.names) {
      words += " " + name;
      if (argument.takes_value)
        cases.values += fmt::format("    \"{} {}\") words=\"{}\" ;;\n", path, name,
                                    fmt::join(argument.values, " "));
    }
  std::string commands;
  for (const CommandTree& child : command.commands) {
    commands += " " + child.name;
    cases.commands +=
        fmt::format("      \"{} {}\") path+=\" {}\" ;;\n", path, child.name, child.name);
  }
  // A command without subcommands takes files, but for words that begin with a dash.
  cases.words +=
      commands.empty()
          ? fmt::format("    \"{}\") [[ $word == -* ]] && words=\"{}\" ;;\n", path,
                        words.substr(words.empty() ? 0 : 1))
          : fmt::format("    \"{}\") words=\"{}{}\" ;;\n", path, commands.substr(1), words);
  for (const CommandTree& child : command.commands)
    add_cases(child, path + " " + child.name, threads, cases);
}

// Where no word fits, bash completes the names of files (-o default).
constexpr std::string_view kScript = R"(# bash completion of emberq, made by: emberq completion bash
_emberq() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} path=emberq words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${{COMP_WORDS[i]}}" in
{}    esac
  done
  case "$path $previous" in
{}    *)
  case "$path" in
{}  esac ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o default -F _emberq emberq
)";

std::string bash_script(const CommandTree& program) {
  CommandTree::Argument threads;
  for (const CommandTree::Argument& argument : program.arguments)
    for (const std::string& name : argument.names)
      if (name == "--threads") threads = argument;
  Cases cases;
  add_cases(program, program.name, threads, cases);
  return fmt::format(kScript, cases.commands, cases.values, cases.words);
}

}  // namespace

void add_completion(Program& program) {
  Command completion = program.subcommand("completion", "Print a script that completes commands");
  completion.need_subcommand();
  completion.subcommand("bash", "For bash: source it, or put it where bash-completion looks")
      .action([&program] { write_out(bash_script(program.tree())); });
}

}  // namespace emberq
