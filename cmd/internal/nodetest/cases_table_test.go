package nodetest_test

// twoUsers is what two people do while they are apart ("share": they meet, and part again), what both see when they have met, and how many
// versions the files then have. Who ends up in conflict with a copy is told by content; where the script needs to know which is the copy,
// bob has written once more than alice. A file that takes the place of one that is gone goes on with its history.
type twoUsers struct{ name, script, tree, history string }

var cases = []twoUsers{
	{"both create a file", `
		alice: write a 1
		bob: write a 2`,
		"a={1,2}", "a:1"},
	{"both edit a file", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3`,
		"a={2,3}", "a:3"},
	{"one edits twice, the other once", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4`,
		"a={2,4}", "a:4"},
	{"both create equal bytes", `
		alice: write a 1
		bob: write a 1`,
		"a=1", "a:1"},
	{"both make equal edits", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 2`,
		"a=2", "a:3"},
	{"edits one after the other are no conflict", `
		alice: write a 1
		share
		alice: write a 2
		share
		bob: write a 3`,
		"a=3", "a:3"},
	{"both edit different files", `
		alice: write a 1; write b 1
		share
		alice: write a 2
		bob: write b 3`,
		"a=2 b=3", "a:2 b:2"},
	{"both create in a new directory", `
		alice: mkdir d; write d/f 1
		bob: mkdir d; write d/f 2`,
		"d/ d/f={1,2}", "d/f:1"},
	{"the same directory made twice is one", `
		alice: mkdir d; write d/f 1
		bob: mkdir d; write d/g 2`,
		"d/ d/f=1 d/g=2", "d/f:1 d/g:1"},
	{"a file and a directory of one name", `
		alice: write a 1
		bob: mkdir a; write a/f 2`,
		"a/ a/f=2 a~=1", "a/f:1"},
	{"a conflict in a subdirectory", `
		alice: mkdir d; write d/f 1
		share
		alice: write d/f 2
		bob: write d/f 3`,
		"d/ d/f={2,3}", "d/f:3"},
	{"a conflict is solved by a rename of the copy over the file", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: mv a~ a`,
		"a=2", "a:5"},
	{"a conflict copy is removed", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		bob: rm a~`,
		"a=4", "a:4"},
	{"a file is removed and its copy stays", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		bob: rm a`,
		"a~=2", "a~:4"},
	{"a conflict copy is edited", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: write a~ 5; write a~ 6`,
		"a={4,6}", "a:6 a~:6"},
	{"both edit the copy", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: write a~ 5
		bob: write a~ 6`,
		"a={4,5,6}", "a:6"},
	{"a copy is renamed away", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: mv a~ b`,
		"a=4 b=2", "a:4 b:5"},
	{"both remove the copy", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: rm a~
		bob: rm a~`,
		"a=4", "a:4"},
	{"one removes the copy, the other edits it", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: rm a~
		bob: write a~ 5`,
		"a={4,5}", "a:5 a~:5"},
	{"the main file is edited beside its copy", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: write a 5`,
		"a={2,5}", "a:5 a~:5"},
	{"rm against edit", `
		alice: write a 1
		share
		alice: rm a
		bob: write a 2`,
		"a=2", "a:2"},
	{"edit against rm", `
		alice: write a 1
		share
		alice: write a 2
		bob: rm a`,
		"a=2", "a:2"},
	{"rm against rm", `
		alice: write a 1
		share
		alice: rm a
		bob: rm a`,
		"", ""},
	{"edit, then rm, against an edit", `
		alice: write a 1
		share
		alice: write a 2; rm a
		bob: write a 3`,
		"a=3", "a:3"},
	{"rm and create against an edit", `
		alice: write a 1
		share
		alice: rm a; write a 2
		bob: write a 3`,
		"a={2,3}", "a:2 a~:3"},
	{"both rm and create", `
		alice: write a 1
		share
		alice: rm a; write a 2
		bob: rm a; write a 3`,
		"a={2,3}", "a:2 a~:2"},
	{"rm against mv", `
		alice: write a 1
		share
		alice: rm a
		bob: mv a b`,
		"b=1", "b:1"},
	{"a name is used again", `
		alice: write a 1; rm a; write a 2`,
		"a=2", "a:2"},
	{"rm after everybody saw the edit", `
		alice: write a 1
		share
		bob: write a 2
		share
		alice: rm a`,
		"", ""},
	{"rm-r against a new file", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d
		bob: write d/g 2`,
		"d/ d/g=2", "d/g:1"},
	{"rm-r against an edit", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d
		bob: write d/f 2`,
		"d/ d/f=2", "d/f:2"},
	{"rm-r against rm-r", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d
		bob: rm-r d`,
		"", ""},
	{"rm-r against an edit, deep", `
		alice: mkdir d/e; write d/e/f 1; write d/g 1
		share
		alice: rm-r d
		bob: write d/e/f 2`,
		"d/ d/e/ d/e/f=2", "d/e/f:2"},
	{"rm-r against rm of a child", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d
		bob: rm d/f`,
		"", ""},
	{"rm-r and made again against a new file", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d; mkdir d
		bob: write d/g 2`,
		"d/ d/g=2", "d/g:1"},
	{"rm of an empty directory against a new file", `
		alice: mkdir d
		share
		alice: rm d
		bob: write d/f 1`,
		"d/ d/f=1", "d/f:1"},
	{"a surviving directory stays when its file goes", `
		alice: mkdir d; write d/f 1
		share
		bob: rm-r d
		alice: write d/f 2
		share
		alice: rm d/f`,
		"d/", ""},
	{"removed directories stay away", `
		alice: mkdir d; write d/f 1
		share
		alice: rm-r d
		share
		bob: write a 1`,
		"a=1", "a:1"},
	{"rm of one file leaves the other's edit of its neighbour", `
		alice: write a 1; write b 1
		share
		alice: rm a
		bob: write b 2`,
		"b=2", "b:2"},
	{"mv against edit", `
		alice: write a 1
		share
		alice: mv a b
		bob: write a 2`,
		"b=2", "b:2"},
	{"mv against mv to the same name", `
		alice: write a 1
		share
		alice: mv a b
		bob: mv a b`,
		"b=1", "b:1"},
	{"two mvs, the later wins", `
		alice: write a 1
		share
		alice: mv a b
		bob: mv a c; mv c e`,
		"e=1", "e:1"},
	{"two files moved to one name", `
		alice: write a 1; write b 2
		share
		alice: mv a c
		bob: mv b c`,
		"c={1,2}", "c:1"},
	{"mv onto a name the other creates", `
		alice: write a 1
		share
		alice: mv a b
		bob: write b 2`,
		"b={1,2}", "b:1"},
	{"mv away, and the name used again", `
		alice: write a 1
		share
		alice: mv a b; write a 2
		bob: write a 3`,
		"a=2 b=3", "a:1 b:2"},
	{"names swapped", `
		alice: write a 1; write b 2
		share
		alice: mv a t; mv b a; mv t b
		bob: write a 3`,
		"a=2 b=3", "a:1 b:2"},
	{"mv of a directory against a new file", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d e
		bob: write d/g 2`,
		"e/ e/f=1 e/g=2", "e/f:1 e/g:1"},
	{"mv of a directory against an edit in it", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d e
		bob: write d/f 2`,
		"e/ e/f=2", "e/f:2"},
	{"mv of a directory against rm of a file in it", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d e
		bob: rm d/f`,
		"e/", ""},
	{"two mvs of a directory, the later wins", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d e
		bob: mv d g; mv g h`,
		"h/ h/f=1", "h/f:1"},
	{"unrelated directories moved to one name blend", `
		alice: mkdir d; write d/f 1; mkdir e; write e/g 2
		share
		alice: mv d x
		bob: mv e x`,
		"x/ x/f=1 x/g=2", "x/f:1 x/g:1"},
	{"crossed directory moves: the later is ignored", `
		alice: mkdir d; mkdir e
		share
		alice: mv d e/d
		bob: write a 1; mv e d/e`,
		"a=1 e/ e/d/", "a:1"},
	{"a file moved into a directory the other renames", `
		alice: mkdir d; write a 1
		share
		alice: mv a d/a
		bob: mv d e`,
		"e/ e/a=1", "e/a:1"},
	{"a file moved into a directory the other removes", `
		alice: mkdir d; write a 1
		share
		alice: mv a d/a
		bob: rm d`,
		"d/ d/a=1", "d/a:1"},
	{"a file moved out of a directory the other removes", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d/f f
		bob: write a 1; rm d/f; rm d`,
		"a=1 f=1", "a:1 f:1"},
	{"a directory renamed, its old name made again", `
		alice: mkdir d; write d/f 1
		share
		alice: mv d e; mkdir d
		bob: write d/g 2`,
		"d/ e/ e/f=1 e/g=2", "e/g:1"},
	{"a directory made again while the other renames", `
		alice: mkdir d; mv d e
		bob: mkdir d; write d/f 1`,
		"d/ d/f=1 e/", "d/f:1"},
	{"a union of directories is renamed as one", `
		alice: mkdir d; write d/f 1
		bob: mkdir d; write d/g 2
		share
		alice: mv d e`,
		"e/ e/f=1 e/g=2", "e/f:1 e/g:1"},
	{"a save by rename keeps one history", `
		alice: write a 1
		share
		alice: write t 2; mv t a`,
		"a=2", "a:2"},
	{"a save by rename against an edit", `
		alice: write a 1
		share
		alice: write t 2; mv t a
		bob: write a 3`,
		"a={2,3}", "a:3"},
	{"two saves by rename", `
		alice: write a 1
		share
		alice: write t 2; mv t a
		bob: write u 3; mv u a`,
		"a={2,3}", "a:3"},
	{"a save by rename against rm", `
		alice: write a 1
		share
		alice: write t 2; mv t a
		bob: rm a`,
		"a=2", "a:2"},
	{"a save by rename against mv", `
		alice: write a 1
		share
		alice: write t 2; mv t a
		bob: mv a b`,
		"b=2", "b:2"},
	{"a rename over against an edit of the source", `
		alice: write a 1; write b 2
		share
		alice: mv a b
		bob: write a 3`,
		"a=3 b=1", "a:2 b:2"},
	{"many edits apart are one conflict", `
		alice: write a 1
		share
		alice: write a 2; write a 3; write a 4
		bob: write a 5; write a 6; write a 7`,
		"a={4,7}", "a:7"},
	{"two rounds apart", `
		alice: write a 1
		share
		alice: write a 2
		share
		bob: write a 3
		share
		alice: write a 4
		bob: write b 1`,
		"a=4 b=1", "a:4 b:1"},
	{"conflicts of two rounds", `
		alice: write a 1
		share
		alice: write a 2
		bob: write a 3; write a 4
		share
		alice: write a 5
		bob: write a 6`,
		"a={2,5,6}", "a:6"},
	{"a day of work of one, nothing of the other", `
		alice: mkdir d; write d/f 1
		share
		alice: write d/f 2; mv d e; write e/g 1; mkdir h; mv e/f h/f; rm e/g`,
		"e/ h/ h/f=2", "h/f:2"},
}
