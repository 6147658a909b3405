"""For the tests of programs that send mail."""
