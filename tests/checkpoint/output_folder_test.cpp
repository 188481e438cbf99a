#include "checkpoint/output_folder.h"

#include "base/json.h"
#include "checkpoint/support.h"

namespace emberq::output_folder_test {
namespace {

TEST(CopyCompanionFiles, CopiesTheTokenizerTheTemplateAndTheLicence) {
  const TestFolder from, to;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
                           "chat_template.jinja", "LICENSE", "NOTICE.txt"})
    from.write(name, name);
  copy_companion_files(from.path(), to.path());
  for (const fs::directory_entry& entry : fs::directory_iterator(from.path()))
    EXPECT_EQ(read_text(to.path() / entry.path().filename()), entry.path().filename());
}

TEST(CopyCompanionFiles, LeavesWeightsConfigAndModelCard) {
  const TestFolder from, to;
  for (const char* name :
       {"model.safetensors", "pytorch_model.bin", "config.json", "README.md", "emberq.json"})
    from.write(name, name);
  fs::create_directory(from.path() / "LICENSES");
  copy_companion_files(from.path(), to.path());
  EXPECT_TRUE(fs::is_empty(to.path()));
}

TEST(CopyCompanionFiles, FollowsLinksAsADownloadCacheHasThem) {
  const TestFolder from, to;
  fs::create_symlink(from.write("blob", "text"), from.path() / "tokenizer.json");
  copy_companion_files(from.path(), to.path());
  EXPECT_FALSE(fs::is_symlink(to.path() / "tokenizer.json"));
  EXPECT_EQ(read_text(to.path() / "tokenizer.json"), "text");
}

TEST(CopyCompanionFiles, NamesTheOneThatCannotBeRead) {
  const TestFolder from, to;
  fs::create_symlink("tokenizer.json", from.path() / "tokenizer.json");  // leads to itself
  EXPECT_REFUSED(copy_companion_files(from.path(), to.path()),
                 "tokenizer.json: ", "Too many levels of symbolic links");
}

TEST(CopyCompanionFiles, RefusesAGitLfsPointerInPlaceOfTheTokenizer) {
  const TestFolder from, to;
  from.write("tokenizer.json",
             "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9085657\n");
  EXPECT_REFUSED(copy_companion_files(from.path(), to.path()),
                 "tokenizer.json is a Git LFS pointer");
}

TEST(WriteConfig, KeepsKeysInOrderAndSetsTheChanges) {
  const TestFolder from, to;
  from.write("config.json", R"({"z": 1e-05, "tie_word_embeddings": true, "a": 500000.0})");
  write_config(from.path(), to.path(),
               {{"tie_word_embeddings", false}, {"quantization_config", {{"x", 1}}}});
  EXPECT_EQ(read_text(to.path() / "config.json"), R"({
  "z": 1e-05,
  "tie_word_embeddings": false,
  "a": 500000.0,
  "quantization_config": {
    "x": 1
  }
}
)");
}

}  // namespace
}  // namespace emberq::output_folder_test
