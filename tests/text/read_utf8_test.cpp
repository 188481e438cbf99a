#include "text/read_utf8.h"

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq::read_utf8_test {
namespace {

TEST(ReadUtf8, NamesTheFileAndTheByteThatIsNone) {
  const TestFolder folder;
  EXPECT_EQ(read_utf8(folder.write("good", "caf\xc3\xa9")), "caf\xc3\xa9");
  EXPECT_EQ(read_utf8(folder.write("empty", "")), "");
  EXPECT_REFUSED(read_utf8(folder.write("latin1", "caf\xe9 ")), "/latin1 is not UTF-8 at byte 3");
  EXPECT_REFUSED(read_utf8(folder.write("cut", "caf\xc3")), "/cut is not UTF-8 at byte 3");
}

}  // namespace
}  // namespace emberq::read_utf8_test
