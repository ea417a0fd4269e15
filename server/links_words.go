package main

import (
	"gatehouse/account"
	"gatehouse/internal/viewer"
)

// nobody is who follows a link: the link alone counts.
var nobody viewer.Viewer

// linkWords is what the page of a purpose says.
type linkWords struct {
	Title  string
	Says   string // what the button will do
	Button string
	Done   string
}

// wordsOfLinks has a page for each purpose.
var wordsOfLinks = map[account.Purpose]linkWords{
	account.ToVerifyEmail: {
		"Confirm your address", "This confirms that the address is yours and that you have opened the account.",
		"Confirm the address", "Your address is confirmed. You can sign in now.",
	},
	account.ToResetPassword: {
		"Choose a new password", "You will be signed out everywhere and can then sign in with the new password.",
		"Set the password", "Your new password is in force. Sign in with it now.",
	},
	account.ToChangeEmail: {
		"Confirm your new address", "This address becomes the one you sign in with. The old address is told.",
		"Use this address", "This is now the address of your account.",
	},
	account.ToUndoEmail: {
		"Undo the change of address", "Your account gets this address back. You will be signed out everywhere, and a mail to this address lets you choose a new password.",
		"Undo the change", "This is the address of your account again. A mail on its way to it lets you choose a new password.",
	},
	account.ToDisown: {
		"This was not me", "Everybody will be signed out of your account, and the password will no longer work. A mail lets you choose a new one.",
		"Secure my account", "Your account is secured. A mail on its way to its address lets you choose a new password.",
	},
	account.ToLogIn: {
		"Sign in", "You will be signed in on this device.",
		"Sign in", "You are signed in.",
	},
	account.ToKeepAccount: {
		"Keep your account", "The deletion of your account will be cancelled.",
		"Keep my account", "Your account stays as it is.",
	},
	account.ToFetchExport: {
		"Your data", "The file holds personal data. Do not pass it on.",
		"Download my data", "",
	},
}
