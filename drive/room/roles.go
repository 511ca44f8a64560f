package room

import "fmt"

// presets are the capabilities of each role.
var presets = map[Role]Caps{
	RoleSeeder: CapRelay,
	RoleReader: CapRelay | CapRead,
	RoleWriter: CapRelay | CapRead | CapDrive | CapChat | CapAdmit,
	RoleAdmin:  CapRelay | CapRead | CapDrive | CapChat | CapAdmit | CapInvite | CapManage,
	RoleOwner:  CapRelay | CapRead | CapDrive | CapChat | CapAdmit | CapInvite | CapManage | CapOwn,
}

var roleNames = map[Role]string{
	RoleNone: "none", RoleReader: "reader", RoleWriter: "writer",
	RoleAdmin: "admin", RoleOwner: "owner", RoleSeeder: "seeder",
}

// Caps returns what the role may do; nothing for a role that is not known.
func (r Role) Caps() Caps { return presets[r] }

// Valid reports whether the role can be given to somebody.
func (r Role) Valid() bool { return presets[r] != 0 }

func (r Role) String() string {
	if n, ok := roleNames[r]; ok {
		return n
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	for r, n := range roleNames {
		if n == name && r.Valid() {
			return r, nil
		}
	}
	return RoleNone, fmt.Errorf("unknown role %q: use reader, writer, admin, owner or seeder", name)
}

// roleOf returns the best preset within the capabilities.
func roleOf(c Caps) Role {
	for _, r := range []Role{RoleOwner, RoleAdmin, RoleWriter, RoleReader, RoleSeeder} {
		if c&presets[r] == presets[r] {
			return r
		}
	}
	return RoleNone
}
