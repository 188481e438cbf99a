#include "checkpoint/safetensors.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <csignal>
#include <numeric>

#include "base/json.h"
#include "checkpoint/shard_writer.h"
#include "checkpoint/support.h"

namespace emberq::safetensors_test {
namespace {

SafetensorsHeader parse(std::string_view file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "w.safetensors");
}
SafetensorsHeader parse(std::string_view header, size_t data_bytes) {
  return parse(safetensors_bytes(header, data_bytes));
}

Tensor counting(std::vector<int64_t> shape) {
  const int64_t size = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::of(std::move(shape), values);
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename());
  std::ranges::sort(files);
  return files;
}

// One F32 pair, as a start for what breaks it.
constexpr std::string_view kPair = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST(SafetensorsHeader, ListsTensorsInTheOrderOfTheirData) {
  const auto header = parse(R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[4,7]},
                                "b":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}})",
                            7);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "b");
  EXPECT_EQ(header.tensors[0].dtype, DType::kF16);
  EXPECT_EQ(header.tensors[0].shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(header.tensors[1].name, "a");
  EXPECT_EQ(header.tensors[1].begin, 4u);
}

TEST(SafetensorsHeader, TakesScalarsAndEmptyTensors) {
  const auto header = parse(R"({"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
                                "empty":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]}})",
                            4);
  EXPECT_EQ(header.tensors.size(), 2u);
}

TEST(SafetensorsHeader, TakesAHeaderPaddedWithSpaces) {
  EXPECT_EQ(parse(std::string(kPair) + "    ", 8).tensors.size(), 1u);
}

TEST(SafetensorsHeader, TakesAFileWithoutTensors) { EXPECT_TRUE(parse("{}", 0).tensors.empty()); }

TEST(SafetensorsHeader, ReadsMetadata) {
  EXPECT_EQ(parse(R"({"__metadata__":{"format":"pt"}})", 0).metadata.at("format"), "pt");
}

TEST(SafetensorsHeader, RefusesAnEmptyFile) {
  EXPECT_REFUSED(parse(""), "w.safetensors", "has 0 bytes");
}

TEST(SafetensorsHeader, RefusesSevenBytes) {
  EXPECT_REFUSED(parse("1234567"), "w.safetensors", "has 7 bytes");
}

TEST(SafetensorsHeader, RefusesALengthBeyondTheFile) {
  std::string file = safetensors_bytes(kPair, 8);
  file.resize(20);
  EXPECT_REFUSED(parse(file), "w.safetensors is cut short");
}

TEST(SafetensorsHeader, RefusesALengthBeyondTheLimit) {
  std::string file = safetensors_bytes(kPair, 8);
  file[4] = 1;
  EXPECT_REFUSED(parse(file), "w.safetensors", "4294967350 bytes", "limit");
  file.replace(0, 8, std::string(8, '\xff'));
  EXPECT_REFUSED(parse(file), "18446744073709551615 bytes");
}

TEST(SafetensorsHeader, RefusesAHeaderOfNoBytes) {
  EXPECT_REFUSED(parse("", 0), "does not start with '{'");
}

TEST(SafetensorsHeader, RefusesAHeaderThatStartsWithASpace) {
  EXPECT_REFUSED(parse(" {}", 0), "does not start with '{'");
}

TEST(SafetensorsHeader, RefusesInvalidJson) {
  EXPECT_REFUSED(parse("{\"a\":", 0), "the header of w.safetensors is not valid JSON");
}

TEST(SafetensorsHeader, RefusesInvalidUtf8) {
  EXPECT_REFUSED(parse("{\"\xff\":{}}", 0), "the header of w.safetensors is not valid JSON");
}

TEST(SafetensorsHeader, RefusesNestingWithoutEnd) {
  std::string header = "{\"a\":";
  for (int i = 0; i < 100000; ++i) header += '[';
  EXPECT_REFUSED(parse(header, 0), "the header of w.safetensors", "nested");
}

TEST(SafetensorsHeader, RefusesANameThatComesTwice) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},
                           "a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
                       2),
                 "the header of w.safetensors has the key \"a\" twice");
}

TEST(SafetensorsHeader, ListsATensorOfAnUnknownTypeWhateverItsShapeTakes) {
  const auto header = parse(R"({"a":{"dtype":"F31","shape":[9],"data_offsets":[0,4]},
                                "b":{"dtype":"I8","shape":[2],"data_offsets":[4,6]}})",
                            6);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].type, "F31");
  EXPECT_EQ(header.tensors[0].dtype, std::nullopt);
  EXPECT_EQ(header.tensors[1].dtype, DType::kI8);
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 3),
                 "w.safetensors: a ends at byte 4 of the data, which has 3");
  EXPECT_REFUSED(parse(R"({"a":{"dtype":31,"shape":[1],"data_offsets":[0,4]}})", 4),
                 "w.safetensors: a.dtype must be a string");
}

TEST(SafetensorsFile, GivesTheBytesOfAnUnknownTypeButNoTensor) {
  const TestFolder folder;
  const fs::path path = folder.write(
      "w.safetensors",
      safetensors_bytes(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", 8));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.stored("a").type, "C64");
  EXPECT_EQ(file.stored("a").bytes.size(), 8u);
  EXPECT_REFUSED(file.get("a"),
                 path.string() + ": a is of the type C64, which emberq does not read");
  SafetensorsWriter writer(folder.path());
  writer.add("b", file.stored("a"));
  writer.finish();
  EXPECT_EQ(SafetensorsFile(folder.path() / "model.safetensors").stored("b").type, "C64");
}

TEST(SafetensorsHeader, RefusesAMissingType) {
  EXPECT_REFUSED(parse(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4),
                 "w.safetensors: a.dtype is missing");
}

TEST(SafetensorsHeader, RefusesNegativeAndFractionalExtents) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"I8","shape":[-1],"data_offsets":[0,1]}})", 1),
                 "w.safetensors: a.shape", "[-1]");
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"I8","shape":[1.5],"data_offsets":[0,1]}})", 1),
                 "w.safetensors: a.shape", "[1.5]");
}

TEST(SafetensorsHeader, RefusesAShapeThatOverflows) {
  constexpr const char* kSaid = "w.safetensors: a.shape is too large";
  EXPECT_REFUSED(
      parse(R"({"a":{"dtype":"I8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
      kSaid);
  EXPECT_REFUSED(
      parse(R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0),
      kSaid);
  EXPECT_REFUSED(
      parse(R"({"a":{"dtype":"I8","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0),
      "w.safetensors: a.shape");
}

TEST(SafetensorsHeader, RefusesReversedOffsets) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
                 "w.safetensors: a.data_offsets", "[8,0]");
}

TEST(SafetensorsHeader, RefusesOffsetsThatAreNotTwo) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8),
                 "w.safetensors: a.data_offsets");
}

TEST(SafetensorsHeader, RefusesBytesThatAreNotTheShapes) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
                 "w.safetensors: a of F32 [3] takes 12 bytes, its data_offsets span 8");
}

TEST(SafetensorsHeader, RefusesOverlappingTensors) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"I8","shape":[4],"data_offsets":[3,7]}})",
                       7),
                 "w.safetensors: b overlaps");
}

TEST(SafetensorsHeader, RefusesAHoleBetweenTensors) {
  EXPECT_REFUSED(parse(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"I8","shape":[4],"data_offsets":[5,9]}})",
                       9),
                 "w.safetensors: 1 bytes before b belong to no tensor");
}

TEST(SafetensorsHeader, RefusesTensorsBeyondTheData) {
  EXPECT_REFUSED(parse(kPair, 7), "w.safetensors: a ends at byte 8 of the data, which has 7");
}

TEST(SafetensorsHeader, RefusesTrailingBytes) {
  EXPECT_REFUSED(parse(kPair, 11), "w.safetensors: the last 3 bytes belong to no tensor");
}

TEST(SafetensorsHeader, RefusesMetadataThatIsNotText) {
  EXPECT_REFUSED(parse(R"({"__metadata__":{"epoch":3}})", 0),
                 "w.safetensors: __metadata__.epoch must be a string, got 3");
}

TEST(SafetensorsFile, CopiesWhatLiesAtAnOddPlace) {
  const TestFolder folder;
  std::string bytes = safetensors_bytes(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},
                                            "b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                        5);
  const float value = 1.5f;
  std::memcpy(bytes.data() + bytes.size() - 4, &value, 4);
  const SafetensorsFile file(folder.write("w.safetensors", bytes));
  const Tensor b = file.get("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data<float>()) % alignof(float), 0u);
  EXPECT_EQ(*b.data<float>(), 1.5f);
}

TEST(SafetensorsFile, NamesItselfAndTheTensorItLacks) {
  const TestFolder folder;
  const SafetensorsFile file(folder.write("w.safetensors", safetensors_bytes(kPair, 8)));
  EXPECT_REFUSED(file.get("b"), "w.safetensors has no tensor b");
}

TEST(SafetensorsFile, NamesAFileThatDoesNotExist) {
  EXPECT_REFUSED(SafetensorsFile("/nowhere/w.safetensors"), "cannot open /nowhere/w.safetensors");
}

TEST(SafetensorsFile, KeepsItsTensorsAlive) {
  const TestFolder folder;
  write_safetensors(folder.path() / "w.safetensors", {{"a", counting({3})}});
  const Tensor a = SafetensorsFile(folder.path() / "w.safetensors").get("a");
  EXPECT_EQ(a.to_float(), (std::vector<float>{0, 1, 2}));
}

TEST(WriteSafetensors, RoundTripsEveryType) {
  const TestFolder folder;
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::vector<uint8_t> bytes(48);
  std::iota(bytes.begin(), bytes.end(), uint8_t(0));
  for (const DTypeInfo& dtype : kDTypes)
    tensors.emplace_back(dtype.name, Tensor::copy_of(dtype.type, {2, int64_t(24 / dtype.bytes)},
                                                     std::span<const uint8_t>(bytes)));
  tensors.emplace_back("scalar", Tensor::of({}, std::vector<float>{2.5f}));
  tensors.emplace_back("empty", Tensor::of({0, 7}, {}));
  write_safetensors(folder.path() / "w.safetensors", tensors);
  const SafetensorsFile file(folder.path() / "w.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const auto& [name, tensor] : tensors) {
    const Tensor read = file.get(name);
    EXPECT_EQ(read.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(read.shape(), tensor.shape()) << name;
    EXPECT_TRUE(std::ranges::equal(read.bytes(), tensor.bytes())) << name;
  }
}

TEST(WriteSafetensors, StartsTheDataAtAMultipleOfEight) {
  const TestFolder folder;
  for (const char* name : {"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"}) {
    write_safetensors(folder.path() / "w", {{name, counting({1})}});
    EXPECT_EQ(fs::file_size(folder.path() / "w") % 8, 4u) << name;
  }
}

TEST(WriteSafetensors, EscapesNames) {
  const TestFolder folder;
  write_safetensors(folder.path() / "w", {{"a\"\\\n\u00e9", counting({1})}});
  EXPECT_TRUE(SafetensorsFile(folder.path() / "w").has("a\"\\\n\u00e9"));
}

TEST(ShardWriter, WritesAFileThatNoReaderTakesForWholeBeforeItFinishes) {
  const TestFolder folder;
  const fs::path path = folder.path() / "part";
  ShardWriter writer(path, 256);
  writer.add("b", counting({2, 3}));
  writer.add("a", counting({4}));
  EXPECT_THROW(SafetensorsFile{path}, InputError);
  writer.finish();
  EXPECT_EQ(writer.data_bytes(), 40u);
  const SafetensorsFile file(path);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(file.file_bytes(), 256u + 40u);
}

TEST(ShardWriter, RefusesATensorThatItsHeaderHasNoSpaceFor) {
  const TestFolder folder;
  const StoredTensor tensor{.type = "F32", .shape = {0}};
  ShardWriter writer(folder.path() / "part", header_bytes_for(max_entry_bytes("a", tensor)));
  writer.add("a", tensor);
  EXPECT_FALSE(writer.has_space_for("b", tensor));
  EXPECT_THROW(writer.add("b", tensor), Error);
}

TEST(WriteIndex, RefusesATensorThatTwoFilesHold) {
  const TestFolder folder;
  for (const char* file : {"1", "2"})
    write_safetensors(folder.path() / file, {{"a", counting({1})}});
  EXPECT_THROW(write_index(folder.path(), {"1", "2"}), Error);
}

TEST(SafetensorsWriter, WritesOneFileWhereItFits) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path());
  writer.add("b", counting({2, 3}));
  writer.add("a", counting({4}));
  writer.finish();
  EXPECT_EQ(writer.total_bytes(), 40u);
  EXPECT_EQ(files_in(folder.path()), (std::vector<fs::path>{"model.safetensors"}));
  const SafetensorsFile file(folder.path() / "model.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(file.get("b").shape(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.get("a").to_float(), (std::vector<float>{0, 1, 2, 3}));
}

TEST(SafetensorsWriter, BeginsAShardWhereTheNextTensorWouldPassTheLimit) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path(), {.max_shard_bytes = 24});
  for (const char* name : {"a", "b", "c"}) writer.add(name, counting({3}));  // 12 bytes each
  writer.add("larger than a shard", counting({10}));
  writer.finish();
  EXPECT_EQ(
      files_in(folder.path()),
      (std::vector<fs::path>{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                             "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  const Json index = read_json(folder.path() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 76);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00003.safetensors");
  const SafetensorsFile last(folder.path() / "model-00003-of-00003.safetensors");
  EXPECT_EQ(last.get("larger than a shard").size(), 10);
}

TEST(SafetensorsWriter, BeginsAShardWhereTheHeaderIsFull) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path(), {.header_bytes = 160});
  for (const char* name : {"a", "b", "c"}) writer.add(name, counting({3}));
  writer.finish();
  EXPECT_EQ(SafetensorsFile(folder.path() / "model-00001-of-00002.safetensors").names(),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(SafetensorsFile(folder.path() / "model-00002-of-00002.safetensors").names(),
            (std::vector<std::string>{"c"}));
}

TEST(SafetensorsWriter, FillsItsHeaderToTheLastByte) {
  const TestFolder folder;
  for (size_t header_bytes = 104; header_bytes <= 200; header_bytes += 8) {
    SafetensorsWriter writer(folder.path(), {.header_bytes = header_bytes});
    writer.add("a", counting({3}));
    writer.add("b", counting({3}));
    writer.finish();
    for (const fs::path& name : files_in(folder.path()))
      if (name.extension() == ".safetensors") SafetensorsFile(folder.path() / name);
  }
}

TEST(SafetensorsWriter, MakesRoomForAnEntryThatIsLongerThanTheReservedHeader) {
  const TestFolder folder;
  const std::string name(1000, 'n');
  SafetensorsWriter writer(folder.path(), {.header_bytes = 64});
  writer.add("a", counting({2}));
  writer.add(name, counting({3}));
  writer.finish();
  const fs::path second = folder.path() / "model-00002-of-00002.safetensors";
  EXPECT_EQ(SafetensorsFile(second).get(name).to_float(), counting({3}).to_float());
}

TEST(SafetensorsWriter, KeepsTheHeaderOfItsTensorsMaxEntryBytesInOneShard) {
  const TestFolder folder;
  size_t header_bytes = 32;  // the start, which is of no tensor, and the end
  const Tensor tensor = counting({1, 2});
  for (int i = 0; i < 100; ++i)
    header_bytes += max_entry_bytes(fmt::format("tensor \"{}\"", i), as_stored(tensor));
  SafetensorsWriter writer(folder.path(), {.header_bytes = (header_bytes + 15) / 8 * 8});
  for (int i = 0; i < 100; ++i) writer.add(fmt::format("tensor \"{}\"", i), counting({1, 2}));
  writer.finish();
  EXPECT_EQ(files_in(folder.path()), std::vector<fs::path>{"model.safetensors"});
}

TEST(SafetensorsWriter, HasNoModelBeforeItFinishes) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path());
  writer.add("a", counting({3}));
  EXPECT_FALSE(fs::exists(folder.path() / "model.safetensors"));
}

TEST(SafetensorsWriter, RefusesToWriteATensorTwice) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path());
  writer.add("a", counting({3}));
  EXPECT_THROW(writer.add("a", counting({3})), Error);
}

// Writes fail past `bytes`, as on a full disk, while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit = {bytes, old_limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(SafetensorsWriter, NamesTheFileWhenTheDiskIsFullAndLeavesNothing) {
  const TestFolder folder;
  std::string said;
  {
    const OutputDirectory out(folder.path() / "out");
    SafetensorsWriter writer(out.partial(), {.header_bytes = 4096});
    const FileSizeLimit limit(8192);
    writer.add("small", counting({1000}));
    said = refusal([&] { writer.add("large", counting({1000})); });
  }
  EXPECT_TRUE(contains(said, "cannot write"));
  EXPECT_TRUE(contains(said, "out.partial/model-00001.partial: File too large"));
  EXPECT_TRUE(files_in(folder.path()).empty());
}

TEST(WriteSafetensors, LeavesNothingWhenTheDiskIsFull) {
  const TestFolder folder;
  {
    const FileSizeLimit limit(1000);
    EXPECT_REFUSED(write_safetensors(folder.path() / "w", {{"a", counting({1000})}}),
                   "cannot write");
  }
  EXPECT_TRUE(files_in(folder.path()).empty());
}

}  // namespace
}  // namespace emberq::safetensors_test
