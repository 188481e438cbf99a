#include "apps/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/print.h"

namespace emberq {
namespace {

using Names = std::vector<std::string>;

template <class T>
std::optional<T> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A value as CLI11 is to read it: it takes 010 for 8. The complaint where it cannot be used.
template <class T>
CLI::Validator whole_number(const char* kind) {
  return {[kind](std::string& text) -> std::string {
            const auto value = number<T>(text);
            if (!value) return fmt::format("must be {}, not '{}'", kind, text);
            text = fmt::format("{}", *value);
            return "";
          },
          ""};
}

CLI::Validator real_number() {
  return {[](std::string& text) -> std::string {
            const auto value = number<double>(text);
            return value && std::isfinite(*value)
                       ? ""
                       : fmt::format("must be a finite number, not '{}'", text);
          },
          ""};
}

CLI::Validator not_empty() {
  return {[](std::string& text) -> std::string { return text.empty() ? "must not be empty" : ""; },
          ""};
}

// Insertions, removals and replacements of characters that make one of the other.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j)
      diagonal = std::exchange(
          row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + size_t(a[i - 1] != b[j - 1])}));
  }
  return row.back();
}

// "; did you mean quantize?" where a name is at most a third of its characters away.
std::string suggestion(std::string_view word, const Names& names) {
  const auto far = [&](const std::string& name) { return distance(word, name); };
  const auto nearest = std::ranges::min_element(names, {}, far);
  if (nearest == names.end() || 3 * far(*nearest) > nearest->size()) return "";
  return fmt::format("; did you mean {}?", *nearest);
}

Names option_names(const CLI::App& command) {
  Names names;
  for (const CLI::App* app = &command; app; app = app->get_parent())
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
  return names;
}

Names command_names(const CLI::App& app) {
  Names names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::string full_name(const CLI::App& command) {
  if (!command.get_parent()) return command.get_name();
  return full_name(*command.get_parent()) + " " + command.get_name();
}

// The command that was given, with those it stands in.
const CLI::App& given_command(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : given_command(*commands.back());
}

std::string what_is_wrong(const CLI::App& app, const CLI::App& command,
                          const CLI::ParseError& error) {
  Names unknown = app.remaining(true);
  std::erase(unknown, "--");
  if (!unknown.empty() && unknown[0].starts_with('-')) {
    const std::string name = unknown[0].substr(0, unknown[0].find('='));
    return fmt::format("{} has no option {}{}", full_name(command), name,
                       suggestion(name, option_names(command)));
  }
  const Names commands = command_names(command);
  if (!unknown.empty() && !commands.empty())
    return fmt::format("{} has no command {}{}", full_name(command), unknown[0],
                       suggestion(unknown[0], commands));
  if (!unknown.empty())
    return fmt::format("{} takes no further argument, such as {}", full_name(command), unknown[0]);
  if (!commands.empty())
    return fmt::format("{} needs a command: {}", full_name(command), fmt::join(commands, ", "));
  std::string text = error.what();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// Has every option of every command refuse an empty value (CLI11 takes it for 0, or for a file of
// no name), and a number be decimal and finite. An empty text can be given to --prompt alone.
void check_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0 || option->check_lname("prompt")) continue;  // a flag
    const std::string type = option->get_type_name();
    if (type.starts_with("INT"))
      option->transform(whole_number<int64_t>("a whole number"));
    else if (type.starts_with("UINT"))
      option->transform(whole_number<uint64_t>("a whole number that is not negative"));
    else if (type.starts_with("FLOAT"))
      option->transform(real_number());
    else
      option->transform(not_empty());
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    check_values(*command);
}

// One sentence on a command line that cannot be used. The first word that belongs to nothing is
// what it names, whatever else is missing on its account, with the nearest name there is.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = given_command(app);
  return fmt::format("{} ({} --help says what there is)", what_is_wrong(app, command, error),
                     full_name(command));
}

CommandTree tree_of(const CLI::App& app) {
  CommandTree tree{.name = app.get_name()};
  for (const CLI::Option* option : app.get_options()) {
    CommandTree::Argument argument{.takes_value = option->get_items_expected_max() != 0};
    for (const std::string& name : option->get_snames()) argument.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) argument.names.push_back("--" + name);
    // "TEXT:{cpu,cuda}" is how CLI11 names the type of an option that takes one of these.
    const std::string type = option->get_type_name();
    const size_t open = type.find('{'), close = type.rfind('}');
    if (open != type.npos && close != type.npos) {
      std::stringstream values(type.substr(open + 1, close - open - 1));
      for (std::string value; std::getline(values, value, ',');) argument.values.push_back(value);
    }
    tree.arguments.push_back(argument);
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    tree.commands.push_back(tree_of(*command));
  return tree;
}

}  // namespace

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::repeated() {
  option_->take_all()->allow_extra_args(false);
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}

Option& Option::between(int low, int high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::between(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

Option& Option::needs(const Option& other) {
  option_->needs(other.option_);
  return *this;
}

Command Command::subcommand(const std::string& name, const std::string& about) {
  return Command(app_->add_subcommand(name, about));
}

void Command::need_subcommand() { app_->require_subcommand(1); }

template <class T>
Option Command::option(const std::string& names, T& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

template Option Command::option(const std::string&, std::string&, const std::string&);
template Option Command::option(const std::string&, int&, const std::string&);
template Option Command::option(const std::string&, int64_t&, const std::string&);
template Option Command::option(const std::string&, uint64_t&, const std::string&);
template Option Command::option(const std::string&, double&, const std::string&);
template Option Command::option(const std::string&, std::optional<int>&, const std::string&);
template Option Command::option(const std::string&, std::optional<int64_t>&, const std::string&);
template Option Command::option(const std::string&, std::optional<double>&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Command::option(const std::string&, std::vector<int>&, const std::string&);
template Option Command::option(const std::string&, std::vector<int64_t>&, const std::string&);
template Option Command::option(const std::string&, std::vector<double>&, const std::string&);

Option Command::early_option(const std::string& names, const std::function<void(int)>& use,
                             const std::string& help) {
  return Option(app_->add_option_function<int>(names, use, help)->trigger_on_parse());
}

Option Command::flag(const std::string& names, bool& value, const std::string& help) {
  return Option(app_->add_flag(names, value, help));
}

void Command::action(const std::function<void()>& run) { app_->callback(run); }

Program::Program(const std::string& name, const std::string& about, const std::string& version,
                 const std::string& footer)
    : Program(std::make_unique<CLI::App>(about, name)) {
  app_->set_version_flag("--version", version);
  app_->require_subcommand(1);
  app_->fallthrough();  // an option of the program may stand after the command too
  app_->get_formatter()->column_width(34);
  app_->footer(footer);
}

Program::Program(std::unique_ptr<CLI::App> app) : Command(app.get()), owned_(std::move(app)) {}

Program::~Program() = default;

void Program::run(int argc, char** argv) {
  check_values(*app_);
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) throw InputError(explain(*app_, error));
    std::ostringstream help;
    app_->exit(error, help, help);
    write_out(help.str());
  }
  flush_out();
}

CommandTree Program::tree() const { return tree_of(*app_); }

}  // namespace emberq
