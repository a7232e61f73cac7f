module mayfly.test/tools/images

go 1.26
