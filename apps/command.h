#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

// The command line of the program. command.cpp is the one file that compiles CLI11.
namespace emberq {

// An option, a flag or a positional argument. A view: the program owns it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  Option& show_default();     // the help text names the value that the variable holds now
  Option& comma_separated();  // several values in one argument: 1,2,3
  Option& repeated();         // may be given several times, with one value each
  Option& one_of(const std::vector<std::string>& values);
  Option& between(int low, int high);
  Option& between(double low, double high);
  Option& excludes(const Option& other);
  Option& needs(const Option& other);

 private:
  CLI::Option* option_;
};

// A command with its options, its subcommands and what it does. A view: the program owns it.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command subcommand(const std::string& name, const std::string& about);
  void need_subcommand();

  // `names` is "-o,--output", or "MODEL" for a positional argument. Parsing sets `value`. T is
  // std::string, int, int64_t, uint64_t or double, an optional of int, int64_t or double, or a
  // vector of std::string, int, int64_t or double.
  template <class T>
  Option option(const std::string& names, T& value, const std::string& help);
  // `use` is called with the value before any command runs.
  Option early_option(const std::string& names, const std::function<void(int)>& use,
                      const std::string& help);
  Option flag(const std::string& names, bool& value, const std::string& help);

  // Runs after parsing, and throws Error or InputError.
  void action(const std::function<void()>& run);

 protected:
  CLI::App* app_;
};

// What there is to type: for completion.
struct CommandTree {
  struct Argument {
    std::vector<std::string> names;   // "-o", "--output"; none for a positional argument
    std::vector<std::string> values;  // where they are a fixed set
    bool takes_value = false;
  };
  std::string name;
  std::vector<Argument> arguments;
  std::vector<CommandTree> commands;
};

class Program : public Command {
 public:
  Program(const std::string& name, const std::string& about, const std::string& version,
          const std::string& footer);
  ~Program();

  // Parses the command line and runs its command. InputError with one sentence on a command line
  // that cannot be used. Help and version go to standard output.
  void run(int argc, char** argv);

  CommandTree tree() const;

 private:
  explicit Program(std::unique_ptr<CLI::App> app);

  std::unique_ptr<CLI::App> owned_;
};

}  // namespace emberq
